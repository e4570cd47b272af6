"""The order of training as arithmetic: no permutation is stored, no index list, and what stands at any position is found on its own.

`permutation` shuffles within a corpus, `schedule` mixes corpora, `mixture_order` puts both together for a plan. NumPy is enough.
"""
