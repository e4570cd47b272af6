"""The block ``{% generation %}`` of chat templates, compiled so that what is inside is written in place.

``transformers`` compiles the block as a call of a function, which Jinja's sandbox checks each time. Where Jinja writes the text of a
template as it goes, a mark before and a mark after what is inside tell as much, in less time. Elsewhere, as in a macro, the text is put
together before it is written; such templates keep the call.
"""

from collections.abc import Collection

from jinja2 import nodes, visitor

from phyagi_assets.tokenizers.marks import BEGIN_NAME, END_NAME


def write_in_place(template: nodes.Template, blocks: Collection[nodes.CallBlock]) -> bool:
    """Replace the calls that stand for the blocks of a template by marks, unless any of them must stay; return whether they were replaced.

    Parameters
    ----------
    template
        The parsed template, which is modified.
    blocks
        The calls that stand for its blocks ``{% generation %}``.
    """
    own = {id(block) for block in blocks}
    buffered = (nodes.Macro, nodes.CallBlock, nodes.FilterBlock, nodes.AssignBlock, nodes.Block, nodes.For)
    for outer in template.find_all(buffered):
        if id(outer) in own or (isinstance(outer, nodes.For) and not outer.recursive):
            continue
        if any(id(inner) in own for inner in outer.find_all(nodes.CallBlock)):
            return False
    for block in blocks:  # a function has names and limits that a block does not have
        if any(name.name in ("caller", "varargs", "kwargs") for name in block.find_all(nodes.Name)):
            return False
        if any(True for _ in block.find_all((nodes.Break, nodes.Continue))):
            return False
    _Writer(own).visit(template)
    return True


class _Writer(visitor.NodeTransformer):
    """Replaces each call that stands for a block by what is inside, between two marks."""

    def __init__(self, calls: Collection[int]) -> None:
        self._calls = calls

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:  # noqa: N802 (Jinja calls it so)
        self.generic_visit(node)
        if id(node) not in self._calls:
            return node
        begin, end = (nodes.Output([nodes.EnvironmentAttribute(name)]) for name in (BEGIN_NAME, END_NAME))
        body = [begin.set_lineno(node.lineno), *node.body, end.set_lineno(node.lineno)]
        return nodes.Scope(body).set_lineno(node.lineno)
