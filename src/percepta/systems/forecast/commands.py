"""`percepta predict forecast FILE`: futures as pictures, a short film, JSON or a submission of Argoverse 2.
`percepta evaluate forecast --predictions FILE --truth DIR`: scores anybody's predictions; without --predictions, as for
every system.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.markup import escape

from percepta import __main__ as general
from percepta import shell
from percepta.datasets.problem import Problem
from percepta.errors import InputError, MissingFileError, one_line
from percepta.shell import counted


@dataclass(frozen=True)
class Predict(shell.Which):
    """Where the agents of recordings go: for each a picture and JSON; maybe a film, or a submission of Argoverse 2."""

    input: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE|FOLDER")] = tyro.MISSING
    """A Parquet scenario, a CSV of time, id, x, y and type (lanes as GeoJSON beside it), or a folder of recordings."""
    out: Path = Path("out/forecast")
    """Folder of what is written."""
    last: int | None = None
    """The last observed step. Left out: the one that the set prescribes, else the recording's last."""
    modes: int | None = None
    """How many futures; 1: the single best one. Left out: all."""
    joint: bool = False
    """Futures of the whole scene instead of each agent's own."""
    horizon_s: float | None = None
    """How far, in seconds. Left out: as far as the network can."""
    homography: Path | None = None
    """A text file of 3 × 3 numbers that turns pixels of a camera that does not move into metres on the ground."""
    film: bool = False
    """Also a short film (MP4) of the recording with the futures of every step."""
    submission: Path | None = None
    """Write the challenge's Parquet file of the scored agents instead of pictures."""


def predict(options: Predict, screen: Console) -> int:
    """Predicts for every recording; 1 where some failed."""
    if not options.input.exists():
        raise MissingFileError(f"{options.input}: no such file or folder")
    from percepta.datasets import traffic
    from percepta.datasets.tracks_csv import on_the_ground, read_homography
    from percepta.systems.forecast.check import of_recording

    if options.homography is not None and not options.homography.is_file():
        raise MissingFileError(f"--homography {options.homography}: no such file; it holds 3 × 3 numbers")
    ground = None if options.homography is None else read_homography(options.homography)
    strangers: list[Problem] = []
    recordings = traffic.read(options.input, strangers)
    _check_submission(options)
    begin = shell.check_out(options.out, screen, [options.input])
    system = shell.load("forecast", options)
    begin()
    failed = [(str(one.file), one.message) for one in strangers]
    found: dict[str, Any] = {}
    with shell.progress_bar(
        screen, f"forecast: {counted(len(recordings), 'recording')}", shown=len(recordings) > 1
    ) as bar:
        for i, name in enumerate(recordings.names):
            try:
                tracks = recordings[i]
                if ground is not None:
                    if tracks.group != "csv":
                        raise InputError(f"{name} is in metres already ({tracks.group}); leave out --homography")
                    tracks = on_the_ground(tracks, ground)
                for text in of_recording(tracks)[0]:
                    screen.print(escape(f"note: {name}: {text}"), soft_wrap=True)
                if options.submission is not None:
                    found[tracks.name] = _focal(system, tracks)
                else:
                    result = system.predict(
                        tracks, last=options.last, modes=options.modes, joint=options.joint, horizon_s=options.horizon_s
                    )
                    written = result.save(options.out / f"{name}.png")
                    points = f", {result.map.points} points of the map" if result.map.lanes else ""
                    screen.print(escape(f"{written}: {result!r}{points}"), soft_wrap=True)
                    if options.film:
                        screen.print(escape(f"{_film(system, tracks, options, name)}"), soft_wrap=True)
            except (OSError, ValueError) as error:
                if len(recordings) == 1:
                    raise
                failed.append((name, one_line(error)))
            bar(i + 1, len(recordings), name)
    if options.submission is not None:
        from percepta.datasets.argoverse2 import write_submission

        screen.print(
            escape(f"{write_submission(options.submission, found)}: {counted(len(found), 'scenario')}"), soft_wrap=True
        )
    return shell.print_failed(screen, failed)


def _focal(system: Any, tracks: Any) -> dict[str, Any]:
    from percepta.datasets.argoverse2 import FUTURE, Prediction

    if tracks.last is None:
        raise InputError(
            f"{tracks.name}: a submission needs a scenario whose data say which step is the last observed one; this "
            "recording does not: leave out --submission"
        )
    scored = tracks.focal
    if tracks.category is not None:
        scored = tuple(name for name, kind in zip(tracks.ids, tracks.category, strict=True) if kind >= 2)
    result = system.predict(tracks, agents=scored or None)
    if result.position.shape[2] != FUTURE:
        raise InputError(f"a submission has {FUTURE} steps; this network predicts {result.position.shape[2]}")
    rows = zip(result.ids, result.position, result.probability, strict=True)
    return {name: Prediction(position, probability) for name, position, probability in rows}


def _check_submission(options: Predict) -> None:
    """Raises InputError where a submission would replace what is read, or is no Parquet file."""
    if options.submission is None:
        return
    written, read = options.submission.resolve(), Path(options.input).resolve()
    if written == read or (written.is_relative_to(read) and written.exists()):
        raise InputError(f"{options.submission} is an input itself and would be replaced; give another --submission")
    if written.suffix != ".parquet":
        raise InputError(f"--submission {options.submission}: a submission is a file that ends in .parquet")
    if options.joint:
        raise InputError("a submission holds the futures of each agent alone; leave out --joint, or --submission")
    others = {"--last": options.last, "--modes": options.modes, "--horizon-s": options.horizon_s}
    if given := [name for name, value in others.items() if value is not None] + ["--film"] * options.film:
        raise InputError(f"the challenge says what a submission holds; leave out {', '.join(given)}, or --submission")


def _film(system: Any, tracks: Any, options: Predict, name: str) -> Path:
    """Every step of the recording from the first one with a past on."""
    import numpy as np

    from percepta.media import video

    def frames() -> Any:
        first = min(system.config.observed_steps, tracks.steps - 1)
        for last in tracks.last_steps(2, 0, max(1, round(0.1 / tracks.dt_s))):
            if last < first or not np.isfinite(tracks.position[:, last]).all(-1).any():
                continue
            result = system.predict(
                tracks, last=last, modes=options.modes, joint=options.joint, horizon_s=options.horizon_s
            )
            yield np.asarray(result.scene.draw(480, f"{last * tracks.dt_s:.1f} s"))

    return video.write(options.out / f"{name}.mp4", frames(), round(1 / max(0.1, tracks.dt_s)))


@dataclass(frozen=True)
class Evaluate(general.Evaluate):
    """Options of an evaluation; with --predictions, of a file of predictions."""

    predictions: Path | None = None
    """Score this file of predictions (Parquet as the challenge of Argoverse 2 has it) instead of a network."""
    truth: Path | None = None
    """The scenarios that the predictions are about."""


def evaluate(options: Evaluate, screen: Console) -> int:
    """Scores a file of predictions, or a network on recordings."""
    if options.predictions is None:
        if options.truth is not None:
            raise InputError("--truth belongs to --predictions; a network is evaluated on --data")
        return general.evaluate_network("forecast", options, screen)
    if options.weights or options.data is not None:
        raise InputError(
            "--predictions scores a file against --truth, without a network; leave out --weights and --data"
        )
    if options.truth is None:
        raise InputError("--predictions needs --truth, the folder with the scenarios that were predicted")
    if options.out.is_file():
        raise InputError(f"--out {options.out} is a file; the numbers are written into a folder")
    import json
    from dataclasses import asdict

    from percepta.files import write_atomically
    from percepta.systems.forecast.evaluate import score_submission

    metrics, notes = score_submission(options.predictions, options.truth)
    shell.print_metrics(screen, f"{options.predictions} against {options.truth}", metrics)
    for text in notes:
        screen.print(escape(text), soft_wrap=True)
    content = {name: asdict(metric) for name, metric in metrics.items()}
    screen.print(f"{write_atomically(options.out / 'metrics.json', json.dumps(content, indent=1) + chr(10))}")
    return 0


COMMANDS = {"predict": (Predict, predict), "evaluate": (Evaluate, evaluate)}
