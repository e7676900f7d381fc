"""train: a training step, and the run that it is one of: time, MFU, memory of every stage, bubbles, what is exposed, price, and what each lever would change."""

from simcost.scenarios.train.published import predict

__all__ = ["predict"]
