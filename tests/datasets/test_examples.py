"""Every public name has an example that runs."""

import doctest

import pytest

import phyagi_assets.datasets


@pytest.mark.parametrize("name", phyagi_assets.datasets.__all__)
def test_every_public_name_has_an_example_that_runs(name: str) -> None:
    of = getattr(phyagi_assets.datasets, name)
    assert "Examples\n" in (of.__doc__ or ""), f"{name} has no section Examples"
    (shown,) = (test for test in doctest.DocTestFinder(recurse=False).find(of, name) if test.name == name)
    assert any(not example.options.get(doctest.SKIP) for example in shown.examples)
