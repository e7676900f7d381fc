"""One file a kernel class: the columns of its rows, the op they stand for, and the features of its curve."""
