"""Batching policies, one file each: what a step takes.

A file has NAME, SOURCE, `shares_step` (prompts and decoding sequences run in one step; otherwise prompts delay decode
by a step of their own), `prompt_tokens` (how many tokens of prompts a step takes beside its decoding sequences) and
`check` (settings that no engine would start with).
"""
