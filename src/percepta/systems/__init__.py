"""The systems, as text: nothing is imported until one is asked for."""

TABLE: dict[str, str] = {
    "aesthetics": "Scores photographs for one person, from who they are and a few ratings (conditional PIAA).",
    "distill": "Classifies pictures, and learns it from its own answers (DLB).",
    "hashing": "Finds pictures and moments in videos by a sentence, by hash codes (CLIP4Hashing).",
    "online3d": "Labels surfaces and things of a room while it is being scanned (INS-Conv).",
    "planes": "Planes of a room from posed pictures: extent, pose and class (PlaneMVS).",
    "refer": "Segments what a sentence names (CRIS).",
    "supernet": "Ranks network architectures with shared weights, and finds the best for a budget (NAS).",
}

# Further commands of the shell: name -> ("module:function", what it does). The function gets the remaining words and
# the screen. A name of two words, "predict aesthetics", is what that system has instead of the general command.
COMMANDS: dict[str, tuple[str, str]] = {
    "rate": ("percepta.systems.aesthetics.commands:rate", "A local page to give stars to the pictures of a folder."),
    "predict aesthetics": ("percepta.systems.aesthetics.commands:predict", "Ranks an album for one person."),
    "index": ("percepta.systems.hashing.commands:index", "Finds moments in your photos and videos by a sentence."),
    "keep planes": ("percepta.systems.planes.commands:keep", "Keeps training pairs in a folder."),
    "supernet": ("percepta.systems.supernet.commands:supernet", "Rank, search, submit architectures."),
    "predict online3d": ("percepta.systems.online3d.commands:predict", "Labels a recording frame by frame, or a scan."),
    "predict planes": ("percepta.systems.planes.commands:predict", "Planes and scene of posed pictures."),
    "predict supernet": ("percepta.systems.supernet.commands:predict", "What is known of architectures by code."),
}
