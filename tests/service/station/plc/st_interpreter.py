"""Runs a function block in structured text, as blark parses it: what `function_block.st` uses.

block = FunctionBlock(source, "FB_MambaadStation", clock=lambda: 0.0)
block.call(Enable=True, FromStation=registers, ToStation=registers_to_write)
block.values["Ok"]

A value that does not fit its type, an unknown name, and a type that does not match raise.
"""

import operator
from copy import deepcopy
from functools import cache

import blark.transform as tree
from blark.parse import parse_source_code

LARGEST = {
    "BOOL": 1, "BYTE": 0xFF, "WORD": 0xFFFF, "DWORD": 0xFFFF_FFFF,
    "UINT": 0xFFFF, "UDINT": 0xFFFF_FFFF, "INT": 0x7FFF,
}  # fmt: skip
OPERATORS = {
    "=": operator.eq, "<>": operator.ne, "<": operator.lt, ">": operator.gt,
    "<=": operator.le, ">=": operator.ge,
    "AND": operator.and_, "OR": operator.or_, "+": operator.add, "*": operator.mul,
}  # fmt: skip


@cache
def parsed(source):
    """Return the types and blocks of a source."""
    return parse_source_code(source).transform().items


class Timer:
    """TON: Q after IN was on for PT seconds."""

    def __init__(self, clock):
        self._clock = clock
        self._since = None
        self.q = False

    def call(self, is_on, pt):
        if not is_on:
            self._since = None
        elif self._since is None:
            self._since = self._clock()
        self.q = self._since is not None and self._clock() >= self._since + pt


class FunctionBlock:
    """One instance; `values` are its variables by name, `types` their types."""

    def __init__(self, source, name, clock):
        items = parsed(source)
        self._clock = clock
        self._structs = {
            str(item.declaration.name): item.declaration.declarations
            for item in items
            if isinstance(item, tree.DataTypeDeclaration)
        }
        (block,) = [i for i in items if isinstance(i, tree.FunctionBlock) and str(i.name) == name]
        self._body = block.body.statements
        self.types, self.values = {}, {}
        for part in block.declarations:
            for item in part.items:
                self._declare(item, self.types, self.values)

    def call(self, **inputs):
        """Run a cycle; a list is passed by reference, as VAR_IN_OUT is."""
        assert inputs.keys() <= self.values.keys()
        self.values.update(inputs)
        self._run(self._body)

    def _declare(self, item, types, values):
        kind = item.init.spec
        for declared in item.variables:
            name = str(declared.variable.name)
            assert name not in values
            types[name] = self._type(kind)
            initial = item.init.value
            values[name] = self._initial(types[name]) if initial is None else self._value(initial)

    def _type(self, spec):
        if isinstance(spec, tree.ArraySpecification):
            (bounds,) = spec.subranges
            first, last = self._value(bounds.start), self._value(bounds.stop)
            assert first == 0
            return ["ARRAY", last + 1, str(spec.type.type_name)]
        name = str(spec.type)
        if name in self._structs:
            types = {}
            for item in self._structs[name]:
                self._declare(item, types, {})
            return types
        assert name in (*LARGEST, "TIME", "TON"), name
        return name

    def _initial(self, kind):
        if isinstance(kind, dict):
            return {name: self._initial(inner) for name, inner in kind.items()}
        if isinstance(kind, list):
            return [self._initial(kind[2])] * kind[1]
        return {"BOOL": False, "TON": Timer(self._clock)}.get(kind, 0)

    def _run(self, statements):
        for statement in statements:
            match statement:
                case tree.AssignmentStatement():
                    (target,) = statement.variables
                    self._assign(target, self._value(statement.expression))
                case tree.FunctionCallStatement():
                    named = {str(p.name.name): self._value(p.value) for p in statement.parameters}
                    self._read(statement.name).call(named["IN"], named["PT"])
                case tree.IfStatement():
                    self._branch(statement)
                case tree.ForStatement():
                    first, last = self._value(statement.from_), self._value(statement.to)
                    for count in range(first, last + 1):
                        self._assign(statement.control, count)
                        self._run(statement.statements.statements)
                case _:
                    raise NotImplementedError(type(statement))

    def _branch(self, statement):
        branches = [(statement.if_expression, statement.statements)]
        branches += [(each.if_expression, each.statements) for each in statement.else_ifs]
        for condition, statements in branches:
            value = self._value(condition)
            assert isinstance(value, bool)
            if value:
                self._run(statements.statements)
                return
        if statement.else_clause is not None:
            self._run(statement.else_clause.statements.statements)

    def _path(self, variable):
        if isinstance(variable, tree.SimpleVariable):
            return [str(variable.name)]
        path = [str(variable.name.name)]
        for element in variable.elements:
            if isinstance(element, tree.SubscriptList):
                path += [self._value(subscript) for subscript in element.subscripts]
            else:
                path.append(str(element.field.name))
        return path

    def _read(self, variable):
        value = self.values
        for key in self._path(variable):
            value = value.q if isinstance(value, Timer) and key == "Q" else value[key]
        return value

    def _assign(self, variable, value):
        path = self._path(variable)
        target, kind = self.values, self.types
        for key in path[:-1]:
            target, kind = target[key], kind[key]
        kind = kind[2] if isinstance(kind, list) else kind[path[-1]]
        assert isinstance(value, bool) is (kind == "BOOL"), (path, value)
        assert 0 <= value <= LARGEST[kind], (path, value)
        assert path[-1] in target if isinstance(target, dict) else path[-1] < len(target)
        target[path[-1]] = deepcopy(value)

    def _value(self, node):
        match node:
            case tree.Integer():
                return int(node.value)
            case tree.HexBitString():
                return int(str(node.value), 16)
            case tree.Boolean():
                return str(node.value).upper() == "TRUE"
            case tree.Duration():
                return float(str(node.seconds))
            case tree.SimpleVariable() | tree.MultiElementVariable():
                return self._read(node)
            case tree.ParenthesizedExpression():
                return self._value(node.expr)
            case tree.UnaryOperation():
                value = self._value(node.expr)
                assert str(node.op) == "NOT"
                assert isinstance(value, bool)
                return not value
            case tree.BinaryOperation():
                left, right = self._value(node.left), self._value(node.right)
                assert isinstance(left, bool) is isinstance(right, bool)
                return OPERATORS[str(node.op)](left, right)
            case tree.FunctionCall():
                return self._function(str(node.name.name), node.parameters)
        raise NotImplementedError(type(node))

    def _function(self, name, parameters):
        values = [self._value(parameter.value) for parameter in parameters]
        if name == "SHL":
            return values[0] << values[1]
        if name == "SHR":
            return values[0] >> values[1]
        before, _, after = name.partition("_TO_")
        assert 0 <= values[0] <= min(LARGEST[before], LARGEST[after]), (name, values)
        return values[0]
