"""Commands that price a stage, one file each: what the stage must say, how much of it there is, and what an answer costs.

A file has `ASKS` (the function of the API), `RUNS` (whether failures and checkpoints of a run are counted), `AMOUNTS` (keys that multiply the cost of a stage, with the value of those that may be left out; None
where one must be stated), `amount(values)`, `arguments(values)` (what the function is asked) and `cost(result, values)`.
"""
