"""The order of training, computed: the sample at any position follows from arithmetic, without a stored permutation or index list.

`permutation` shuffles within a corpus, `schedule` mixes corpora, and `mixture_order` combines both for a plan. Only NumPy is needed.
"""
