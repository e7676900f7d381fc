"""Names of recipes: stages in a row, what they cost, what is published of them, what their assumptions are worth."""

from __future__ import annotations

from simcost.metrics._words import NUMBER, TEXT, Rows

RECIPE: Rows = (
    ("gpu_hours_low", "gpu_hours", "less", "lower end of the 90 % interval of `gpu_hours`"),
    ("gpu_hours_high", "gpu_hours", "less", "upper end of the 90 % interval of `gpu_hours`"),
    ("usd_low", "usd", "less", "lower end of the 90 % interval of `usd`"),
    ("usd_high", "usd", "less", "upper end of the 90 % interval of `usd`"),
    ("wall_s", "duration", "less", "from the start of the first stage to the end of the last"),
    ("recipe_stage", TEXT, "", "name of a stage of a recipe"),
    ("command", TEXT, "", "the command that prices it"),
    ("share_of_gpu_hours", "fraction", "", "part of the recipe's GPU hours"),
    ("stage_s", "duration", "less", "time that a stage takes"),
    ("stage_start_s", "duration", "", "when the stage starts: the stages before it have ended"),
    ("says", TEXT, "", "the rate on which the time of the stage rests"),
    ("published_what", TEXT, "", "what a source prints"),
    ("published_gpu_hours", "gpu_hours", "", "GPU hours that a source prints"),
    ("assumed_key", TEXT, "", "a value that no source states"),
    ("assumed_value", NUMBER, "", "value that the recipe assumes"),
    ("assumed_least", NUMBER, "", "lower end of the range of the assumption"),
    ("assumed_most", NUMBER, "", "upper end of the range of the assumption"),
    ("hours_at_least", "gpu_hours", "", "GPU hours of the stage at the lower end"),
    ("hours_at_most", "gpu_hours", "", "GPU hours of the stage at the upper end"),
    ("assumed_because", TEXT, "", "why a value is taken"),
)  # fmt: skip
