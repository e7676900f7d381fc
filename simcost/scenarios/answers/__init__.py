"""What an answer is made of: the terms of a step, one kernel in full, the difference of two answers, the sources that they rest on."""
