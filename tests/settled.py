"""Prepare the memory of the process from which others are forked: this module is imported after all others."""

from tests.memory import freeze, use_huge_pages

freeze()
use_huge_pages()
