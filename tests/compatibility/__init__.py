"""A store built by an earlier release, and the values that later releases have to read from it.

``store.tar.xz`` is a data folder with a store in it, two corpora and three mixtures, one of them with a second segment and two superseded
plans; ``expected.json`` is what that release read from it. `make_store` writes both.
"""
