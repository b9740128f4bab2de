"""The systems, as text: nothing is imported until one is asked for."""

TABLE: dict[str, str] = {
    "actions": "Says when what happens in a long video (ActionFormer, temporal action localisation).",
    "aesthetics": "Scores photographs for one person, from who they are and a few ratings (conditional PIAA).",
    "avatar": "Shows a person in loose clothes in new poses, learnt from several cameras (SLRF).",
    "distill": "Classifies pictures, and learns it from its own answers (DLB).",
    "driver": "Says what a driver does when, seen by up to three cameras (AI City challenge, track 3).",
    "forecast": "Predicts where cars and people go next, from tracks and lanes (Argoverse 2 motion forecasting).",
    "hashing": "Finds pictures and moments in videos by a sentence, by hash codes (CLIP4Hashing).",
    "online3d": "Labels surfaces and things of a room while it is being scanned (INS-Conv).",
    "planes": "Planes of a room from posed pictures: extent, pose and class (PlaneMVS).",
    "refer": "Segments what a sentence names (CRIS).",
    "replay": "Finds replays in a broadcast of soccer, and when what they show happened (SoccerNet replay grounding).",
    "slam": "Says where a moving camera is and what it has seen: one camera, depth, stereo, inertial sensor.",
    "spotting": "Says when what happens in a broadcast of soccer: goals, corners, cards (SoccerNet action spotting).",
    "supernet": "Ranks network architectures with shared weights, and finds the best for a budget (NAS).",
    "vos": "Follows marked things through a video: masks of every frame, cut-outs (XMem).",
    "weather": "Segments streets in fog, at night, in rain and snow, carried over from fair weather (ACDC).",
}

# What people type daily, and what it is short for.
SHORT: dict[str, tuple[str, ...]] = {"index": ("hashing",), "rate": ("aesthetics", "rate")}
