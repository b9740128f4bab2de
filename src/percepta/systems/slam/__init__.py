"""Visual SLAM: where a moving camera is and what it has seen, live, with one camera or with depth.

The system follows the published designs that work on small devices. Corners are spread over the picture (Shi and Tomasi
1994) and followed by pyramidal Lucas-Kanade (Bouguet 2000). With one camera, the first two views are an essential
matrix or a homography by score, as in ORB-SLAM (Mur-Artal et al. 2015, section IV); with depth one frame is enough.
Each frame's pose has the least robust reprojection error of known points (PTAM, Klein and Murray 2007). A frame that
sees enough new becomes a keyframe: known points are found again in it, new ones are triangulated, and a window of
keyframes and points is adjusted together by Gauss-Newton steps with the Schur complement (Triggs et al. 2000). Depth is
a third residual, the inverse depth, whose noise is constant for stereo and structured light. Places that are seen again
close a loop by a pose graph over SE(3), for one camera Sim(3) (Strasdat et al. 2010).
Candidates for a place are found by pooled features of EfficientNet-Lite0 through a fixed projection. What differs:
decisions go by frame number only, so the same input gives the same trajectory bit by bit; nothing is learnt by steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Config:
    """Settings of visual SLAM; lengths in pixels are for a picture 640 pixels wide and follow the width."""

    corners: int = 400
    """How many corners are followed."""
    cells: tuple[int, int] = (8, 6)
    """Columns and rows of the grid over which corners are spread."""
    corner_distance_px: float = 10.0
    """Least distance of two corners."""
    front_end: Literal["corners", "xfeat"] = "corners"
    """"xfeat": a network also says where corners went where too few fit one motion; wants `percepta[xfeat]`."""
    patch_px: int = 21
    """Side of the square of pixels that is followed."""
    levels: int = 4
    """Levels of the picture's pyramid."""
    inverse_depth_sigma: float = 0.005
    """Standard deviation of measured inverse depth, 1/m, where a pixel has a standard deviation of 1 pixel."""
    surface_points: int = 1500
    """How many points of a keyframe's depth stand for its surface."""
    surface_sigma: float = 0.005
    """Standard deviation of inverse depth, 1/m, of surfaces."""
    surface_weight: float = 5.0
    """How much a point of a surface counts against a corner; their errors are not independent. 0: not used."""
    surface_links: int = 3
    """How many earlier keyframes a new one's surface is aligned with."""
    max_depth_m: float = 6.0
    """Depth above is no reading."""
    outlier_px: float = 3.0
    """A point whose reprojection error is larger is not used."""
    min_inliers: int = 20
    """With fewer points a frame counts as lost."""
    start_parallax_px: float = 8.0
    """One camera: median way of the corners before two views are tried."""
    min_parallax_deg: float = 1.0
    """Least angle between two rays from which a point is triangulated."""
    rolling_shutter: float = 0.0
    """Time from the first row to the last, as a share of the time between two frames; 0 for a global shutter."""
    keyframe_share: float = 0.6
    """A keyframe is made when fewer than this share of the last keyframe's points are followed."""
    keyframe_motion_px: float = 40.0
    """A keyframe is made when the points have moved by more in the picture (median)."""
    window: int = 8
    """How many keyframes are adjusted together."""
    iterations: int = 6
    """Steps of each adjustment."""
    adjust_frames: int = 3
    """After how many frames an adjustment is taken over, or when the next keyframe is made; 0: at once."""
    adjust_apart: bool = True
    """Whether adjustments are solved in a process of their own meanwhile; the answers are the same bit by bit."""
    coupled: bool = True
    """Whether samples of an inertial sensor are part of the adjustment; else they give gravity and scale alone."""
    find_again: int = 6
    """In how many earlier keyframes points are looked for that were lost on the way."""
    loops: bool = True
    """Whether places that are seen again close loops."""
    world: Literal["flat", "room"] = "flat"
    """Synthetic world without data: a flat of several rooms with a way round, or one room (fast)."""
    world_frames: int = 600
    """Frames of a synthetic sequence."""
    world_width: int = 320
    """Width of its pictures, pixels."""
    places: Literal["features", "thumbnail"] = "features"
    """What places are compared by: features of a network, projected, or small blurred pictures."""
    place_numbers: int = 128
    """How many numbers describe a place by its features."""
    adjust_all: bool = True
    """Whether all keyframes are adjusted together when a loop is closed; it takes a second for each hundred."""
    candidates: int = 4
    """How many keyframes that look alike are tried when a place may be seen again."""
    lost_frames: int = 5
    """After so many frames without a place a new part of the map begins."""
    max_keyframes: int = 500
    """Older keyframes are dropped beyond this number, so that memory is bounded."""
    max_frames: int = 200_000
    """Of so many frames the poses are kept; beyond it, every other one of the older half is dropped."""


PRESETS: dict[str, Config] = {
    "tiny": Config(
        corners=120,
        window=5,
        iterations=4,
        adjust_frames=2,
        adjust_apart=False,
        cells=(6, 4),
        place_numbers=32,
        world="room",
        world_frames=12,
        world_width=240,
    ),
    "small": Config(),
}
