"""The systems, as text: nothing is imported until one is asked for."""

TABLE: dict[str, str] = {
    "refer": "Segments what a sentence names (CRIS).",
}

# Further commands of the shell, name -> "module:function" (a function of the remaining arguments).
COMMANDS: dict[str, str] = {}
