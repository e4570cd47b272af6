"""Compile the block ``{% generation %}`` of chat templates so that its content is written in place.

``transformers`` compiles the block as a function call, which Jinja's sandbox checks each time. If Jinja writes the text directly to the
output, one mark before the content and one after it are enough, and faster. In a macro, for example, Jinja assembles the text before it
writes it; such templates keep the call.
"""

from collections.abc import Collection

from jinja2 import nodes, visitor

from phyagi_assets.tokenizers.marks import BEGIN_NAME, END_NAME


def write_in_place(template: nodes.Template, blocks: Collection[nodes.CallBlock]) -> bool:
    """Replace the calls that the blocks of a template were parsed to with marks, unless one must stay; return whether they were replaced.

    Parameters
    ----------
    template
        The parsed template, which is modified.
    blocks
        The calls that its blocks ``{% generation %}`` were parsed to.
    """
    own = {id(block) for block in blocks}
    buffered = (nodes.Macro, nodes.CallBlock, nodes.FilterBlock, nodes.AssignBlock, nodes.Block, nodes.For)
    for outer in template.find_all(buffered):
        if id(outer) in own or (isinstance(outer, nodes.For) and not outer.recursive):
            continue
        if any(id(inner) in own for inner in outer.find_all(nodes.CallBlock)):
            return False
    for block in blocks:  # only a function has these names, and it cannot break or continue an outer loop
        if any(name.name in ("caller", "varargs", "kwargs") for name in block.find_all(nodes.Name)):
            return False
        if any(True for _ in block.find_all((nodes.Break, nodes.Continue))):
            return False
    _Writer(own).visit(template)
    return True


class _Writer(visitor.NodeTransformer):
    """Replaces the call of each block with the content of the block between two marks."""

    def __init__(self, calls: Collection[int]) -> None:
        self._calls = calls

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.Node:  # noqa: N802 (Jinja calls it so)
        self.generic_visit(node)
        if id(node) not in self._calls:
            return node
        begin, end = (nodes.Output([nodes.EnvironmentAttribute(name)]) for name in (BEGIN_NAME, END_NAME))
        body = [begin.set_lineno(node.lineno), *node.body, end.set_lineno(node.lineno)]
        return nodes.Scope(body).set_lineno(node.lineno)
