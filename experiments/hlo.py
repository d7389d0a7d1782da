"""What the TPU's compiler made of a program: its loops, cycles and copies, read from its text.

The compiler writes its estimate of cycles beside most instructions of a program. Ratios between
large fusions hold to about 30 %, copies and small loops to a factor of 2 to 5; sorts, some gathers
and the exchange between chips have no estimate and count for nothing here.
"""

import dataclasses
import functools
import re
from collections.abc import Iterator

HEADER = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$")
OPCODE = re.compile(r"(?:^|[\s)}\]])([a-z][a-z0-9\-]*)\(")
CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
CALLED = re.compile(r"(?:body|to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)")
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
CALLERS = ("while", "call", "conditional", "async-start")
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
HOST = ("infeed", "outfeed", "send", "recv")
SIZES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "s32": 4, "u32": 4, "f32": 4}


@dataclasses.dataclass(frozen=True)
class Instruction:
    """A line of a program."""

    result: str  # type and layout
    opcode: str
    text: str

    @property
    def cycles(self) -> int:
        """The compiler's estimate; 0 where it gives none."""
        match = CYCLES.search(self.text)
        return int(match[1]) if match else 0

    @property
    def called(self) -> list[str]:
        """The computations that it runs, those within a fusion left out."""
        if self.opcode not in CALLERS:
            return []
        branches = BRANCHES.search(self.text)
        names = branches[1].replace("%", "").split(", ") if branches else []
        return [*names, *CALLED.findall(self.text)]

    @property
    def operation(self) -> str:
        """The opcode, without the suffix of operations that run beside others."""
        return self.opcode.removesuffix("-start").removesuffix("-done")

    @property
    def size(self) -> int:
        """The bytes of its result, the padding of tiles left out; 0 of several results."""
        match = re.match(r"(\w+)\[([\d,]*)\]", self.result)
        if match is None or match[1] not in SIZES:
            return 0
        size = SIZES[match[1]]
        for length in filter(None, match[2].split(",")):
            size *= int(length)
        return size


@dataclasses.dataclass(frozen=True)
class Loop:
    """A loop, and the computation that it repeats."""

    trips: int | None
    body: str
    depth: int  # of loops of unknown length around it


class Program:
    """A compiled program.

    Args:
      text: of the compiled module, `compiled.as_text()`.

    Example:
      >>> text = '''HloModule example
      ... %body (x: f32[8]) -> f32[8] {
      ...   ROOT %y = f32[8]{0} fusion(%x), calls=%f, backend_config={"estimated_cycles":"7"}
      ... }
      ... ENTRY %main (x: f32[8]) -> f32[8] {
      ...   ROOT %w = f32[8]{0} while(%x), body=%body, x={"known_trip_count":{"n":"5"}}
      ... }'''
      >>> Program(text).cycles()
      35
    """

    def __init__(self, text: str) -> None:
        self.computations: dict[str, list[Instruction]] = {}
        self.entry = ""
        lines: list[Instruction] = []
        self.aliases = text.partition("\n")[0].count("-alias)")
        for line in text.splitlines():
            if header := HEADER.match(line):
                lines = self.computations.setdefault(header[1], [])
                self.entry = header[1] if line.startswith("ENTRY") else self.entry
            elif match := INSTRUCTION.match(line):
                lines.append(_instruction(match[2]))

    def instructions(self, name: str = "") -> Iterator[Instruction]:
        """Yield the instructions of a computation, of the whole program by default, and its calls'.

        Args:
          name: of the computation, such as the body of a loop.
        """
        for instruction in self.computations[name or self.entry]:
            yield instruction
            for called in instruction.called:
                yield from self.instructions(called)

    def loops(self, name: str = "", depth: int = 0) -> Iterator[Loop]:
        """Yield the loops within a computation, outer ones first."""
        for instruction in self.computations[name or self.entry]:
            for called in instruction.called:
                inner = depth
                if instruction.opcode == "while":
                    loop = Loop(self._trips(instruction), called, depth)
                    yield loop
                    inner = depth + (loop.trips is None)
                yield from self.loops(called, inner)

    def steps(self) -> str:
        """Return the body of the loop of training steps: the longest loop in the loop of epochs.

        Both have an unknown length. A step may have such loops too, as where it selects weights.

        Raises:
          ValueError: no loop has an unknown length.
        """
        unknown = [loop for loop in self.loops() if loop.trips is None]
        if not unknown:
            raise ValueError("The program has no loop of unknown length.")
        depth = min(1, max(loop.depth for loop in unknown))
        bodies = [loop.body for loop in unknown if loop.depth == depth]
        return max(bodies, key=self.cycles)

    @functools.cache  # noqa: B019  a program lives as long as its numbers are asked for
    def cycles(self, name: str = "", *, passes: int = 1, due: float = 1.0) -> int:
        """Return the cycles of a computation, of the whole program by default.

        Args:
          name: of the computation.
          passes: how often loops of unknown length run.
          due: share of the times at which what depends on a condition is done.
        """
        total = 0.0
        for instruction in self.computations[name or self.entry]:
            times: float = due if instruction.opcode == "conditional" else 1
            if instruction.opcode == "while":
                trips = self._trips(instruction)
                times = passes if trips is None else trips
            called = (self.cycles(each, passes=passes, due=due) for each in instruction.called)
            total += instruction.cycles + times * sum(called)
        return round(total)

    def _trips(self, loop: Instruction) -> int | None:
        """Return how often a loop runs; None where only running it tells."""
        if match := TRIPS.search(loop.text):
            return int(match[1])
        condition = re.search(r"condition=%?([\w.\-]+)", loop.text)
        assert condition is not None, loop.text
        lines = self.computations[condition[1]]
        bounds = [line.text for line in lines if line.opcode == "constant"]
        counts = lines[-1].opcode == "compare" and "direction=LT" in lines[-1].text
        if len(bounds) != 1 or not counts:
            return None
        bound = re.search(r"constant\((\d+)\)", bounds[0])
        return int(bound[1]) if bound else None


def _instruction(text: str) -> Instruction:
    """Return an instruction from what stands behind its name."""
    match = OPCODE.search(text)
    assert match is not None, text
    return Instruction(text[: match.start(1)].strip(), match[1], text)
