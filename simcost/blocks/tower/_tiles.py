"""Pictures that a processor cuts into squares by their shape: the grid that fits best, and what the prompt gets of it (LLaVA-NeXT, LLaVA-OneVision).

A picture is scaled into one of several sizes, cut into squares, and one more square shows all of it. Patches of what pads it are dropped again, and every row of patches that is left ends in a learned line
break. Most likely to be wrong: engines whose processor is not that of transformers. Sources: Hugging Face `image_processing_utils.py` (select_best_resolution), `processing_llava_next.py`,
`processing_llava_onevision.py`, `modeling_llava_next.py` (pack_image_features).
"""

from __future__ import annotations

from simcost.frozen import frozen
from simcost.num import Num, floor, maximum, minimum, sqrt, where
from simcost.plan import Phase

_ROUNDED = 5e-8  # sizes are rounded to seven digits before they are cut off
_DOWN = 1.1  # times the squares that rows may have: rows are scaled down above it


@frozen
class Tiles:
    """`sizes`: (height, width) to which pictures are scaled; `side`: pixels of a square; `grid`: its patches along a side; `most`: squares whose patches the rows may have together, 0 where there is no limit;
    `alone`: only a prompt's single picture is cut, several are one square each."""

    sizes: tuple[tuple[float, float], ...]
    side: float
    grid: float
    most: float = 0.0
    alone: bool = False

    def _best(self, phase: Phase) -> tuple[Num, Num, Num]:
        """(height, width) of the size that shows most pixels, the smallest of those, and how many it shows."""
        tall, wide = phase.image_height, phase.image_width
        height: Num = 0.0
        width: Num = 0.0
        shown: Num = 0.0
        for y, x in self.sizes:
            scale = minimum(x / wide, y / tall)
            here = minimum(floor(wide * scale) * floor(tall * scale), tall * wide)
            better = (here > shown) | ((here == shown) & (y * x < height * width))
            height, width, shown = where(better, y, height), where(better, x, width), where(better, here, shown)
        return height, width, shown

    def fits(self, phase: Phase) -> Num:
        """Above 0 where any size shows something of the picture."""
        return self._best(phase)[2]

    def _cut(self, phase: Phase, whole: float, cut: Num) -> Num:
        """`cut` for pictures that are cut, `whole` for others."""
        return where(phase.images > 1.0, whole, cut) if self.alone else cut

    def count(self, phase: Phase) -> Num:
        """Squares of a picture, with the one of the whole."""
        height, width, _ = self._best(phase)
        return self._cut(phase, 1.0, floor(height / self.side) * floor(width / self.side) + 1.0)

    def tokens(self, phase: Phase) -> Num:
        """What a picture takes of the prompt: patches of the whole, and rows of those that show it with a line break each."""
        tall, wide = phase.image_height, phase.image_width
        height, width, _ = self._best(phase)
        rows, columns = floor(height / self.side) * self.grid, floor(width / self.side) * self.grid
        flat = wide / tall > columns / maximum(rows, 1.0)
        kept_rows = floor(tall * (columns / wide) + _ROUNDED)
        kept_columns = floor(wide * (rows / tall) + _ROUNDED)
        unpadded = rows - 2.0 * floor((rows - kept_rows) / 2.0), columns - 2.0 * floor((columns - kept_columns) / 2.0)
        rows, columns = where(flat, unpadded[0], rows), where(flat, columns, unpadded[1])
        if self.most:
            ratio = sqrt(rows * columns / (self.most * self.grid**2))
            down = ratio > _DOWN
            safe = maximum(ratio, _DOWN)
            rows, columns = where(down, rows // safe, rows), where(down, columns // safe, columns)
        return self._cut(phase, self.grid**2 + 1.0, self.grid**2 + rows * (columns + 1.0))
