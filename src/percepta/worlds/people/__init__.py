"""People: articulated bodies in clothes, moved by recordings or made-up motions, seen by cameras; and a driver in a
car.

What there is (x forward, y left, z up; metres; RGB pictures with pixel centres at integers; everything follows from its
arguments and seeds):

    geometry/body.py  make_body(Shape(height_m=1.8)) -> Body; Motion(root, rotation, fps): poses of 19 joints; skinning
    rig.py       retarget(mocap, body) -> Motion, for the recordings that `datasets.motions.clips(root)` gives (BVH,
                 DeepMimic); read_rig("mine.json") for other rigs
    motions.py   CLASSES and action_of(mocap): 16 named body actions; looped, joined; made("walk", 3.0): without
    recordings cloth.py     skirt, coat, sleeve; simulate(garment, body, motion): position-based dynamics
    paint.py     Look, random_look(rng): colours, patterns, small print
    person.py    dressed("skirt", shape, look) -> Person; person.moved(motion) -> vertices of each frame;
                 person.seen(vertices[frame], camera, world_from_camera) -> Picture (colour, soft mask, labels, depth);
                 ring(8, 128, 160): cameras around
    geometry/meshes.py  the rasteriser: about 30 pictures a second of 128×160 on one core
    film.py      shoot(motion, person, random_stage(seed), seed=..., width=160, height=120, fps=15) -> Film(pixels,
    mask):
                 a background, a camera that follows and shakes
    cabin.py     make_drive(seed, fps=10) -> Drive: spans (exact), frame(view, number, width, height), label(number);
    three VIEWS,
                 16 ACTIVITIES
"""
