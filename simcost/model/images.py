"""What must hold for images and videos of a prompt, and what they take of it.

Most likely to be wrong: processors that cut a picture into several squares by rules that the config does not state: each square counts as an image.
"""

from __future__ import annotations

from collections.abc import Sequence

from simcost.blocks.tower.tower import Tower
from simcost.errors import NotModelled, SpecError
from simcost.num import every, is_scalar
from simcost.plan import Check, Phase, Plan

SIDES = ("image_height", "image_width")


def seeing(towers: Sequence[Tower]) -> Tower | None:
    """The tower that images pass; None where a design has none."""
    return next((tower for tower in towers if tower.key == "vision_config"), None)


def required(name: str, towers: Sequence[Tower], uncounted: Sequence[str], phase: Phase) -> Tower | None:
    """The tower of a phase with images, None of one without. `uncounted`: towers that the config does not determine. Raises SpecError where there is none,
    and for sides that say nothing or are missing; NotModelled for a tower whose time is not known."""
    if not phase.sees:
        return None
    stated, pictures, frames = sides(phase), not every(phase.images == 0.0), not every(phase.video_frames == 0.0)
    tower, asked = seeing(towers), "images" if pictures else "video_frames"
    if tower is None:
        why = f"no tower that is counted ({'; '.join(uncounted)})" if uncounted else "no tower for images"
        raise SpecError(f"{asked}: {name} has {why}: leave {asked} out")
    if tower.refuses:
        raise NotModelled(f"{asked}: not modelled for {name}: {tower.refuses}: leave {asked} out")
    if frames and tower.video is None:
        raise NotModelled(
            f"video_frames: not modelled for {name}: no rule for the frames of its processor is known here: leave video_frames out, or count each frame as an image"
        )
    if not pictures and tower.side is not None:
        if stated:
            raise SpecError(
                f"{stated[0]}: {name} makes every frame {tower.side:.0f} x {tower.side:.0f} pixels: leave it out"
            )
        return tower
    if not tower.by_shape and stated:
        raise SpecError(
            f"{stated[0]}: {name} makes every image {tower.side:.0f} x {tower.side:.0f} pixels: leave it out"
        )
    if tower.by_shape and len(stated) < len(SIDES):
        does = "keeps their size" if tower.tiles is None else "cuts them by their shape"
        raise SpecError(f"{asked}: {name} {does}: state image_height and image_width, in pixels")
    return tower


def sides(phase: Phase) -> list[str]:
    """The keys of the sides that a phase states."""
    return [key for key in SIDES if not every(getattr(phase, key) == 0.0)]


def checks(towers: Sequence[Tower], plan: Plan, phase: Phase) -> list[Check]:
    """Rules of a phase with images, elementwise: whole patches, no more tokens than the prompt has, heads that tp divides."""
    tower = seeing(towers)
    if tower is None or not phase.sees:
        return []
    found = tower.checks(plan)
    if tower.side is None:
        step = tower.patch * tower.multiple
        for key in SIDES:
            whole = getattr(phase, key) % step == 0.0
            found.append(Check(whole, f"{key} must be a multiple of {step:.0f} pixels, the patches of a token"))
            if tower.largest:
                said = f"{key} may be {tower.largest:.0f} pixels at most: larger images are scaled down to it first"
                found.append(Check(getattr(phase, key) <= tower.largest, said))
    if tower.tiles is not None and not every(phase.images == 0.0):
        found.append(
            Check(
                tower.tiles.fits(phase) > 0.0,
                "the picture is too narrow: no size of image_grid_pinpoints shows any of it",
            )
        )
    taken = tower.prompt_tokens(phase)
    shown = f"{taken:,.0f}" if is_scalar(taken) else "more"
    who = (
        "images"
        if every(phase.video_frames == 0.0)
        else "a video takes"
        if every(phase.images == 0.0)
        else "images and a video"
    )
    said = f"{who}{'' if who.endswith('takes') else ' take'} {shown} tokens of each prompt, but isl is smaller"
    found.append(Check(taken <= phase.q_len, said))
    return found
