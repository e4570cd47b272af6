"""The order of training as arithmetic: no permutation or index list is stored, and the sample at any position is computed directly.

`permutation` shuffles within a corpus, `schedule` mixes corpora, and `mixture_order` combines both for a plan. Only NumPy is needed.
"""
