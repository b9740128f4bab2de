"""What a look through a folder found, with examples that are drawn already."""

from __future__ import annotations

from typing import ClassVar

from PIL import Image

from percepta.datasets.problem import Findings
from percepta.errors import InputError
from percepta.media import draw


class PictureFindings(Findings[tuple[Image.Image, str]]):
    """Findings whose examples are pictures with captions; a system's `check.Report` says what they show.

    Attributes:
        shown: what an example is, for the message where there is none.
    """

    shown: ClassVar[str]

    def sheet(self, columns: int = 4, width: int = 1400) -> Image.Image:
        """Contact sheet of the examples.

        Raises:
            InputError: there is no example.
        """
        if not self.examples:
            raise InputError(f"{self.root}: no {self.shown} to show")
        return draw.sheet([p for p, _ in self.examples], columns, width, [text for _, text in self.examples])
