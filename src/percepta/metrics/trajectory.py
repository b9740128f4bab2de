"""Errors of trajectories: absolute (ATE) and relative (RPE), and the file formats of TUM, KITTI and EuRoC.

The definitions are those of Sturm et al. 2012 (sections IV A and B) as `evo` computes them: positions are joined by
time, aligned by Umeyama's least squares (1991) over SE(3), or over Sim(3) where a single camera leaves the scale
open, and their distances are the absolute error. The relative error compares motions over a number of frames or of
metres.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64, Int

from percepta import files
from percepta.errors import InputError, MissingFileError
from percepta.formats import to_float
from percepta.geometry import pose as poses

FORMATS = ("tum", "kitti", "euroc")


@dataclass(frozen=True)
class Trajectory:
    """Where a camera was at which time.

    Attributes:
        time_s: ascending; frame numbers where a format has no times (KITTI).
        world_from_camera: the poses; their rotations are in SO(3).
    """

    time_s: Float64[np.ndarray, " n"]
    world_from_camera: Float64[np.ndarray, "n 4 4"]

    def __post_init__(self) -> None:
        if self.world_from_camera.shape != (len(self.time_s), 4, 4):
            raise InputError(
                f"a trajectory has a time and a 4×4 pose for each frame, not {self.time_s.shape} times and "
                f"{self.world_from_camera.shape} poses"
            )
        if not (np.isfinite(self.time_s).all() and np.isfinite(self.world_from_camera).all()):
            raise InputError("a trajectory has values that are not finite; leave frames out that were not tracked")
        if (np.diff(self.time_s) < 0).any():
            i = int(np.argmax(np.diff(self.time_s) < 0))
            raise InputError(f"time goes backwards after pose {i}: {self.time_s[i]} s, then {self.time_s[i + 1]} s")

    def __len__(self) -> int:
        return len(self.time_s)

    @property
    def centres(self) -> Float64[np.ndarray, "n 3"]:
        """Positions of the camera, metres."""
        return self.world_from_camera[:, :3, 3]

    @property
    def length_m(self) -> float:
        """Length of the way."""
        return float(np.linalg.norm(np.diff(self.centres, axis=0), axis=1).sum())

    def pick(self, index: Int[np.ndarray, " m"]) -> Trajectory:
        """Some of the poses."""
        return Trajectory(self.time_s[index], self.world_from_camera[index])


def trajectory(time_s: Iterable[float] | np.ndarray, world_from_camera: Float[np.ndarray, "n 4 4"]) -> Trajectory:
    """A trajectory whose rotations are brought to SO(3): published poses are printed with few digits."""
    matrices = np.array(world_from_camera, np.float64)
    if len(matrices):
        matrices[:, :3, :3] = project_rotations(matrices[:, :3, :3])
    return Trajectory(np.array(list(time_s), np.float64), matrices)


def project_rotations(matrices: Float[np.ndarray, "n 3 3"]) -> Float64[np.ndarray, "n 3 3"]:
    """The nearest rotations (Frobenius norm), by singular values."""
    u, _, v = np.linalg.svd(np.asarray(matrices, np.float64))
    u[..., 2] *= np.linalg.det(u @ v)[..., None]
    return u @ v


# ----------------------------------------------------------------------------------------------------- association


def associate(estimate: Trajectory, truth: Trajectory, max_difference_s: float = 0.02) -> tuple[Trajectory, Trajectory]:
    """The poses of both that belong together: each of the shorter one takes the nearest in time of the longer one.

    Args:
        estimate: what is scored.
        truth: what it is scored against.
        max_difference_s: how far apart two times may be.

    Returns:
        (estimate, truth), of the same length.

    Raises:
        InputError: no two times are near each other.
    """
    if not len(estimate) or not len(truth):
        raise InputError("a trajectory has no poses")
    short, long = (estimate, truth) if len(estimate) <= len(truth) else (truth, estimate)
    right = np.clip(np.searchsorted(long.time_s, short.time_s), 1, max(1, len(long) - 1))
    right = np.minimum(right, len(long) - 1)
    left = np.maximum(right - 1, 0)
    nearest = np.where(
        np.abs(long.time_s[left] - short.time_s) <= np.abs(long.time_s[right] - short.time_s), left, right
    )
    close = np.flatnonzero(np.abs(long.time_s[nearest] - short.time_s) <= max_difference_s)
    if not len(close):
        raise InputError(
            f"no two poses are within {max_difference_s} s: the times are {estimate.time_s[0]} to "
            f"{estimate.time_s[-1]} s and {truth.time_s[0]} to {truth.time_s[-1]} s; are the units the same?"
        )
    joined = short.pick(close), long.pick(nearest[close])
    return joined if short is estimate else (joined[1], joined[0])


# ------------------------------------------------------------------------------------------------------- alignment


@dataclass(frozen=True)
class Alignment:
    """x becomes scale · rotation · x + translation."""

    rotation: Float64[np.ndarray, "3 3"]
    translation: Float64[np.ndarray, " 3"]
    scale: float = 1.0

    def points(self, xyz: Float[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
        """Points moved."""
        return self.scale * xyz @ self.rotation.T + self.translation

    def poses(self, world_from_camera: Float[np.ndarray, "n 4 4"]) -> Float64[np.ndarray, "n 4 4"]:
        """Poses moved; they stay rigid."""
        return poses.compose(self.rotation @ world_from_camera[:, :3, :3], self.points(world_from_camera[:, :3, 3]))


def umeyama(
    source: Float[np.ndarray, "n 3"], target: Float[np.ndarray, "n 3"], *, with_scale: bool = False
) -> Alignment:
    """The motion of least squared distances between moved source points and target points (Umeyama 1991).

    Args:
        source: at least three points, not all on one line.
        target: where each should come to lie.
        with_scale: whether sizes may change: Sim(3) instead of SE(3).

    Raises:
        InputError: too few points, or all on one line.
    """
    if len(source) < 3 or source.shape != target.shape:
        raise InputError(f"an alignment needs three pairs of points and more, not {len(source)} and {len(target)}")
    mean_s, mean_t = source.mean(0), target.mean(0)
    covariance = (target - mean_t).T @ (source - mean_s) / len(source)
    u, d, v = np.linalg.svd(covariance)
    if np.count_nonzero(d > np.finfo(d.dtype).eps) < 2:
        raise InputError("the positions lie on one line (or in one point); the alignment is not determined")
    sign = np.ones(3)
    if np.linalg.det(u) * np.linalg.det(v) < 0:
        sign[2] = -1
    rotation = u @ np.diag(sign) @ v
    scale = float((d * sign).sum() / ((source - mean_s) ** 2).sum(1).mean()) if with_scale else 1.0
    return Alignment(rotation, mean_t - scale * rotation @ mean_s, scale)


# ----------------------------------------------------------------------------------------------------------- errors


@dataclass(frozen=True)
class Errors:
    """Statistics of an error.

    Attributes:
        rmse, mean, median, max: of the values.
        values: one for each pose or motion.
        unit: "m" or "deg".
    """

    values: Float64[np.ndarray, " n"]
    unit: str

    @property
    def rmse(self) -> float:
        return float(np.sqrt((self.values**2).mean()))

    @property
    def mean(self) -> float:
        return float(self.values.mean())

    @property
    def median(self) -> float:
        return float(np.median(self.values))

    @property
    def max(self) -> float:
        return float(self.values.max())


def absolute(
    estimate: Trajectory, truth: Trajectory, *, with_scale: bool = False, max_difference_s: float = 0.02
) -> tuple[Errors, Alignment]:
    """Absolute trajectory error: distances of camera centres after alignment.

    Args:
        estimate: what is scored.
        truth: what it is scored against.
        with_scale: align over Sim(3), for one camera without depth.
        max_difference_s: how far apart the times of two poses may be.

    Returns:
        (distances in metres, the alignment).
    """
    mine, true = associate(estimate, truth, max_difference_s)
    alignment = umeyama(mine.centres, true.centres, with_scale=with_scale)
    return Errors(np.linalg.norm(alignment.points(mine.centres) - true.centres, axis=1), "m"), alignment


def relative(
    estimate: Trajectory,
    truth: Trajectory,
    *,
    frames: int | None = 1,
    metres: float | None = None,
    scale: float = 1.0,
    max_difference_s: float = 0.02,
) -> tuple[Errors, Errors]:
    """Relative pose error: how motions differ, each over a number of frames or, without it, of metres.

    Args:
        estimate: what is scored.
        truth: what it is scored against.
        frames: length of each motion in frames; motions follow each other without overlap, as `evo` takes them.
        metres: instead of `frames`: length of each motion along the true way.
        scale: of the estimate, from its alignment.
        max_difference_s: how far apart the times of two poses may be.

    Returns:
        (errors of the translation in metres, of the rotation in degrees).

    Raises:
        InputError: the trajectory is shorter than one motion.
    """
    mine, true = associate(estimate, truth, max_difference_s)
    if metres is None:
        if frames is None or frames < 1:
            raise InputError(f"a motion has at least one frame, not {frames}")
        marks = np.arange(0, len(true), frames)
    else:
        way = np.r_[0, np.cumsum(np.linalg.norm(np.diff(true.centres, axis=0), axis=1))]
        marks_list = [0]
        for i in range(len(way)):
            if way[i] - way[marks_list[-1]] >= metres:
                marks_list.append(i)
        marks = np.array(marks_list)
    if len(marks) < 2:
        raise InputError(f"the trajectory has {len(true)} poses and {true.length_m:.2f} m: no motion is that long")
    a, b = marks[:-1], marks[1:]
    own = mine.world_from_camera.copy()
    own[:, :3, 3] *= scale
    step = poses.inverse(own[a]) @ own[b]
    true_step = poses.inverse(true.world_from_camera[a]) @ true.world_from_camera[b]
    difference = poses.inverse(true_step) @ step
    turn = np.degrees(poses.angle(difference[:, :3, :3]))
    return Errors(np.linalg.norm(difference[:, :3, 3], axis=1), "m"), Errors(turn, "deg")


def recall(errors: Errors, frames: int, within: float) -> float:
    """Share of all frames whose error is at most `within`; frames that were not tracked count as wrong.

    Args:
        errors: of the frames that were tracked.
        frames: how many frames there are.
        within: largest error that counts as right.
    """
    return float((errors.values <= within).sum() / max(frames, 1))


# ------------------------------------------------------------------------------------------------------------ files


_MOST = 1e20  # of a number in a file: nanoseconds since 1970 are below


def read(path: Path | str, form: str | None = None) -> Trajectory:
    """A trajectory's file.

    Args:
        path: the file.
        form: "tum" (t x y z qx qy qz qw), "kitti" (3×4 matrices in rows) or "euroc" (csv: t in ns, x y z, qw qx qy qz);
            None: found out from the ending (csv) and the number of columns.

    Raises:
        MissingFileError: no such file.
        InputError: a line that is none of these, naming it.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path}: no such file; a trajectory in the format of TUM, KITTI or EuRoC was expected")
    rows = []
    for number, line in enumerate(files.read_lines(path), 1):
        words = line.replace(",", " ").split()
        if not words or words[0].startswith("#"):
            continue
        try:
            rows.append([to_float(word) for word in words])
        except ValueError:
            raise InputError(f"{path}, line {number}: expected numbers, not {line[:60]!r}") from None
        if len(rows[-1]) != len(rows[0]):
            raise InputError(f"{path}, line {number}: {len(rows[-1])} numbers, where line 1 has {len(rows[0])}")
    if not rows:
        raise InputError(f"{path}: no poses in it")
    table = np.array(rows)
    good = (np.abs(table) < _MOST).all(1)  # NaN is not
    if not good.all():
        raise InputError(f"{path}: pose {int((~good).argmax())} has values that are not finite, or huge; leave it out")
    try:
        return _trajectory_of(table, form, path)
    except InputError as error:
        raise InputError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None


def _trajectory_of(table: Float64[np.ndarray, "n k"], form: str | None, path: Path) -> Trajectory:
    """The trajectory in the rows of a file."""
    if form is None:
        form = "euroc" if path.suffix == ".csv" else {8: "tum", 12: "kitti"}.get(table.shape[1], "")
    if form == "kitti" and table.shape[1] == 12:
        matrices = np.tile(np.eye(4), (len(table), 1, 1))
        matrices[:, :3] = table.reshape(-1, 3, 4)
        return trajectory(np.arange(len(table)), matrices)
    columns = {"tum": [4, 5, 6, 7], "euroc": [5, 6, 7, 4]}.get(form, [])
    if columns and table.shape[1] > max(columns) and (form == "euroc" or table.shape[1] == 8):
        turns = table[:, columns]
        if (np.linalg.norm(turns, axis=1) < 1e-6).any():
            raise InputError(f"{path}: a rotation of length 0")
        matrices = poses.compose(poses.from_quaternion(turns), table[:, 1:4])
        return trajectory(table[:, 0] / (1e9 if form == "euroc" else 1), matrices)
    raise InputError(f"{path}: {table.shape[1]} columns; TUM has 8, KITTI 12, EuRoC 8 and more (csv, time in ns)")


def write(path: Path | str, given: Trajectory, form: str = "tum") -> Path:
    """Writes a trajectory.

    Args:
        path: the file.
        given: the trajectory.
        form: "tum", "kitti" (times are lost) or "euroc".

    Raises:
        InputError: no such format.
    """
    xyz, q = given.centres, poses.to_quaternion(given.world_from_camera[:, :3, :3])
    if form == "tum":
        rows = np.c_[given.time_s, xyz, q]
        text = "\n".join(f"{row[0]:.6f} " + " ".join(f"{x:.9f}" for x in row[1:]) for row in rows)
    elif form == "kitti":
        text = "\n".join(" ".join(f"{x:.9e}" for x in m[:3].reshape(-1)) for m in given.world_from_camera)
    elif form == "euroc":
        lines = ["#timestamp [ns],p_x [m],p_y [m],p_z [m],q_w [],q_x [],q_y [],q_z []"]
        for t, p, (x, y, z, w) in zip(given.time_s, xyz, q, strict=True):
            lines.append(f"{round(t * 1e9)}," + ",".join(f"{a:.9f}" for a in (*p, w, x, y, z)))
        text = "\n".join(lines)
    else:
        raise InputError(f"a trajectory is written as {', '.join(FORMATS)}, not {form!r}")
    return files.write_atomically(path, text + "\n")
