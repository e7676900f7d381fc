"""Judgements: what work costs on a device, in time, memory, money and energy. Knows no architecture."""
