"""Algorithms, one file each: which passes a step has.

A file has NAME, SOURCE, `GENERATES` (answers come from a rollout; else they are data), `CRITIC` (a value model of the
policy's size is asked and trained beside it), `REFERENCE` (log-probs of a frozen model are asked unless the user says
otherwise), `FILTERS` (prompts whose answers all have one reward are thrown away and replaced, so that more are
generated than trained), `SAMPLES` (answers a prompt that the method fixes, None: any) and `CLIPS` (the update compares
with log-probs of the policy that made the answers).
"""
