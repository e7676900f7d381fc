"""Pipeline schedules, one file each: what every rank runs in which order, where stages stand, what must hold, and a closed form of the time.

A file has NAME, SOURCE, SPLITS (input and weight gradients run apart), PER_RANK (virtual stages a rank holds; None: `vpp`), PAIRS (a forward runs with another micro-batch's backward), EXACT (where its closed form
is exact, for people), and the functions `rules`, `placement`, `orders` and `closed_form`. SEARCHED, where there is one: `orders` takes the durations of the step too (`Lengths`).
"""
