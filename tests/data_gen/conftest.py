"""What the training stream is made of."""

import ast

import pytest


@pytest.fixture(scope="session")
def modules_behind_the_stream(repository):
    """Names of all modules of data_gen that data_gen.stream reaches through imports, at any depth."""
    todo, seen = ["data_gen.stream"], set()
    while todo:
        name = todo.pop()
        if name in seen or not name.startswith("data_gen."):
            continue
        seen.add(name)
        path = repository / f"{name.replace('.', '/')}.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                todo.append(node.module)
            elif isinstance(node, ast.Import):
                todo += [alias.name for alias in node.names]
    return seen
