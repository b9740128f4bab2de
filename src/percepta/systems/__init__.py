"""The systems, as text: nothing is imported until one is asked for."""

TABLE: dict[str, str] = {
    "aesthetics": "Scores photographs for one person, from who they are and a few ratings (conditional PIAA).",
    "distill": "Classifies pictures, and learns it from its own answers (DLB).",
    "refer": "Segments what a sentence names (CRIS).",
}

# Further commands of the shell: name -> ("module:function", what it does). The function gets the remaining words and
# the screen. A name of two words, "predict aesthetics", is what that system has instead of the general command.
COMMANDS: dict[str, tuple[str, str]] = {
    "rate": ("percepta.systems.aesthetics.commands:rate", "A local page to give stars to the pictures of a folder."),
    "predict aesthetics": ("percepta.systems.aesthetics.commands:predict", "Ranks an album for one person."),
}
