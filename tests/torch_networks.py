"""The library's networks as PyTorch modules, and what these give: the reference of `load_torch`.

`python tests/torch_networks.py` (needs PyTorch) writes the shapes of each `state_dict` and the
logits of drawn weights and inputs to torch_networks.json, which the tests read without PyTorch.
"""

import itertools
import json
import pathlib

import numpy as np

from jaxlth.models import inception

FILE = pathlib.Path(__file__).with_suffix(".json")
NETWORKS = {  # name: (shape of an input, fields of its ModelConfig)
    "lenet-300-100": ((28, 28, 1), {}),
    "mlp": ((6, 5, 3), {"hidden": (20,)}),
    "conv-2": ((6, 4, 3), {}),
    "resnet-20": ((8, 8, 3), {}),
    "vit-tiny": ((8, 12, 3), {}),
    "gpt-mini": ((7,), {}),
    "vgg-11": ((16, 32, 3), {"fc_layers": 2}),
    "resnet-18-modified": ((8, 8, 3), {}),
    "resnet-50": ((33, 32, 3), {}),
    "inception-v3": ((299, 299, 3), {}),
}
QUICK = ("lenet-300-100", "mlp", "conv-2")
CLASSES, TOKENS, EXAMPLES = 10, 11, 2


def classes(name):
    return TOKENS if name == "gpt-mini" else CLASSES


def draw(shapes):
    """Return weights of PyTorch's names and shapes, such that activations keep their size."""
    random, state = np.random.default_rng(0), {}
    for name, shape in sorted(shapes.items()):
        if name.endswith("num_batches_tracked"):
            state[name] = np.zeros((), np.int64)
            continue
        numbers = random.standard_normal(shape)
        if len(shape) > 1:
            numbers *= np.sqrt(2 / np.prod(shape[1:]))
        elif name.endswith("running_var"):
            numbers = 0.5 + np.abs(numbers)
        else:
            numbers = name.endswith("weight") + 0.1 * numbers
        state[name] = numbers.astype(np.float32)
    return state


def inputs(name):
    shape, _ = NETWORKS[name]
    random = np.random.default_rng(1)
    if name == "gpt-mini":
        return random.integers(0, TOKENS, (EXAMPLES, *shape)).astype(np.int32)
    return random.standard_normal((EXAMPLES, *shape)).astype(np.float32)


def module(name):
    """Return the PyTorch module of a network; its layers have the names of ours."""
    import torch
    from torch import nn
    from torch.nn import functional

    def conv(inside, out, size, stride=1, padded=True, bias=False):
        around = tuple(side // 2 for side in size) if padded else 0
        return nn.Conv2d(inside, out, size, stride, around, bias=bias)

    def dense(*widths):
        return {f"Dense_{i}": nn.Linear(*pair) for i, pair in enumerate(itertools.pairwise(widths))}

    def relu_chain(layers, x):
        for at, layer in enumerate(layers):
            x = layer(x if at == 0 else torch.relu(x))
        return x

    class MLP(nn.Module):
        def __init__(self, *widths):
            super().__init__()
            self.layers = dense(*widths)
            for at, layer in self.layers.items():
                self.add_module(at, layer)

        def forward(self, x):
            return relu_chain(self.layers.values(), x.flatten(1))

    class Conv(nn.Module):
        def __init__(self, pairs, inside, pixels):
            super().__init__()
            self.pairs = []
            for pair in range(1, pairs + 1):
                out = 64 * 2 ** (pair - 1)
                names = f"Conv{pair}_1", f"Conv{pair}_2"
                self.add_module(names[0], conv(inside, out, (3, 3), bias=True))
                self.add_module(names[1], conv(out, out, (3, 3), bias=True))
                self.pairs.append(names)
                inside = out
            self.dense = dense(inside * pixels, 256, 256, CLASSES)
            for at, layer in self.dense.items():
                self.add_module(at, layer)

        def forward(self, x):
            for names in self.pairs:
                for at in names:
                    x = torch.relu(self.get_submodule(at)(x))
                x = functional.max_pool2d(x, 2)
            return relu_chain(self.dense.values(), x.flatten(1))

    class VGG(nn.Module):
        def __init__(self, stacks, fc_layers):
            super().__init__()
            self.stacks, inside = [], 3
            for stack, count in enumerate(stacks, 1):
                out = min(32 * 2**stack, 512)
                self.stacks.append([f"{stack}_{place}" for place in range(1, count + 1)])
                for at in self.stacks[-1]:
                    self.add_module(f"Conv{at}", conv(inside, out, (3, 3), bias=True))
                    self.add_module(f"BatchNorm{at}", nn.BatchNorm2d(out))
                    inside = out
            self.dense = dense(512, *[512] * (fc_layers - 1), CLASSES)
            for at, layer in self.dense.items():
                self.add_module(at, layer)

        def forward(self, x):
            for stack, names in enumerate(self.stacks):
                x = functional.max_pool2d(x, 2) if stack else x
                for at in names:
                    x = self.get_submodule(f"Conv{at}")(x)
                    x = torch.relu(self.get_submodule(f"BatchNorm{at}")(x))
            return relu_chain(self.dense.values(), x.mean((2, 3)))

    class Block(nn.Module):
        def __init__(self, inside, channels, stride, bottleneck):
            super().__init__()
            basic = [(channels, 3, stride), (channels, 3, 1)]
            deep = [(channels, 1, 1), (channels, 3, stride), (4 * channels, 1, 1)]
            start, self.count = inside, 3 if bottleneck else 2
            for at, (out, side, step) in enumerate(deep if bottleneck else basic):
                self.add_module(f"Conv_{at}", conv(inside, out, (side, side), step))
                self.add_module(f"BatchNorm_{at}", nn.BatchNorm2d(out))
                inside = out
            self.project = stride > 1 or start != inside
            if self.project:
                self.Shortcut = conv(start, inside, (1, 1), stride)
                self.ShortcutNorm = nn.BatchNorm2d(inside)

        def forward(self, x):
            shortcut = self.ShortcutNorm(self.Shortcut(x)) if self.project else x
            for at in range(self.count):
                x = torch.relu(x) if at else x
                x = self.get_submodule(f"BatchNorm_{at}")(self.get_submodule(f"Conv_{at}")(x))
            return torch.relu(x + shortcut)

    class ResNet(nn.Module):
        def __init__(self, blocks, channels, bottleneck=False, large=False):
            super().__init__()
            self.large, self.blocks, inside = large, [], channels
            self.Conv1 = conv(3, channels, *(((7, 7), 2) if large else ((3, 3), 1)))
            self.BatchNorm1 = nn.BatchNorm2d(channels)
            for group, count in enumerate(blocks):
                for place in range(1, count + 1):
                    width = channels * 2**group
                    block = Block(inside, width, 2 if group and place == 1 else 1, bottleneck)
                    self.blocks.append(f"Conv{group + 2}_{place}")
                    self.add_module(self.blocks[-1], block)
                    inside = width * (4 if bottleneck else 1)
            self.Dense_0 = nn.Linear(inside, CLASSES)

        def forward(self, x):
            x = torch.relu(self.BatchNorm1(self.Conv1(x)))
            x = functional.max_pool2d(x, 3, 2, 1) if self.large else x
            for at in self.blocks:
                x = self.get_submodule(at)(x)
            return self.Dense_0(x.mean((2, 3)))

    class Branch(nn.Module):
        def __init__(self, steps, inside):
            super().__init__()
            self.steps, count = [], 0
            for step in steps:
                kinds = list(step) if isinstance(step, inception.Fork) else [step]
                made = []
                for kind in kinds:
                    if isinstance(kind, inception.Step):
                        layer = conv(inside, kind.channels, kind.size, kind.stride, kind.padded)
                        self.add_module(f"Conv_{count}", layer)
                        norm = nn.BatchNorm2d(kind.channels, eps=1e-3)
                        self.add_module(f"BatchNorm_{count}", norm)
                        made.append(nn.Sequential(layer, norm, nn.ReLU()))
                        count += 1
                    elif isinstance(kind, inception.MaxPool):
                        made.append(nn.MaxPool2d(3, 2))
                    else:
                        made.append(nn.AvgPool2d(3, 1, 1, count_include_pad=False))
                self.steps.append(made)
                channels = [kind.channels for kind in kinds if isinstance(kind, inception.Step)]
                inside = sum(channels) or inside
            self.out = inside

        def forward(self, x):
            for made in self.steps:
                x = torch.cat([layer.eval()(x) for layer in made], 1)
            return x

    class Inception(nn.Module):
        def __init__(self):
            super().__init__()
            self.Conv1 = Branch(inception.STEM, 3)
            inside, self.mixed = self.Conv1.out, {}
            for at, paths in inception.MODULES.items():
                branches = {f"{at}_{i}": Branch(path, inside) for i, path in enumerate(paths, 1)}
                self.mixed[at] = branches
                for name, branch in branches.items():
                    self.add_module(name, branch)
                inside = sum(branch.out for branch in branches.values())
                if at == inception.AUXILIARY_AFTER:  # no output at inference
                    self.Auxiliary = Branch(inception.AUXILIARY, inside)
                    self.AuxiliaryDense = nn.Linear(self.Auxiliary.out, CLASSES)
            self.Dense_0 = nn.Linear(inside, CLASSES)

        def forward(self, x):
            x = self.Conv1(x)
            for branches in self.mixed.values():
                x = torch.cat([branch(x) for branch in branches.values()], 1)
            return self.Dense_0(x.mean((2, 3)))

    class Attention(nn.Module):
        def __init__(self, width, heads, ratio, causal):
            super().__init__()
            self.heads, self.causal = heads, causal
            self.AttentionNorm, self.MLPNorm = nn.LayerNorm(width), nn.LayerNorm(width)
            self.QueryKeyValue = nn.Linear(width, 3 * width)
            self.AttentionOutput = nn.Linear(width, width)
            self.MLP1, self.MLP2 = nn.Linear(width, ratio * width), nn.Linear(ratio * width, width)

        def forward(self, x):
            qkv = self.QueryKeyValue(self.AttentionNorm(x))
            query, key, value = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
            y = functional.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
            x = x + self.AttentionOutput(y.transpose(1, 2).flatten(2))
            return x + self.MLP2(functional.gelu(self.MLP1(self.MLPNorm(x)), approximate="tanh"))

    class Blocks(nn.Module):
        def __init__(self, positions, count, width, heads, ratio, causal):
            super().__init__()
            self.position_embedding = nn.Parameter(torch.zeros(positions, width))
            self.names = [f"Block{place}" for place in range(1, count + 1)]
            for at in self.names:
                self.add_module(at, Attention(width, heads, ratio, causal))
            self.LastNorm = nn.LayerNorm(width)

        def forward(self, x):
            x = x + self.position_embedding
            for at in self.names:
                x = self.get_submodule(at)(x)
            return self.LastNorm(x)

    class ViT(nn.Module):
        def __init__(self, patches):
            super().__init__()
            self.PatchEmbedding = nn.Linear(48, 96)
            self.Blocks = Blocks(patches, 6, 96, 3, 2, False)
            self.Head = nn.Linear(96, CLASSES)

        def forward(self, x):
            patches = functional.unfold(x, 4, stride=4).transpose(1, 2)
            return self.Head(self.Blocks(self.PatchEmbedding(patches)).mean(1))

    class GPT(nn.Module):
        def __init__(self, length):
            super().__init__()
            self.Tokens = nn.Embedding(TOKENS, 128)
            self.Blocks = Blocks(length, 4, 128, 4, 4, True)

        def forward(self, x):
            return self.Blocks(self.Tokens(x)) @ self.Tokens.weight.T

    makers = {
        "lenet-300-100": lambda: MLP(784, 300, 100, CLASSES),
        "mlp": lambda: MLP(90, 20, CLASSES),
        "conv-2": lambda: Conv(1, 3, 6),
        "resnet-20": lambda: ResNet((3, 3, 3), 16),
        "vit-tiny": lambda: ViT(6),
        "gpt-mini": lambda: GPT(7),
        "vgg-11": lambda: VGG((1, 1, 2, 2, 2), 2),
        "resnet-18-modified": lambda: ResNet((2, 2, 2, 2), 64),
        "resnet-50": lambda: ResNet((3, 4, 6, 3), 64, bottleneck=True, large=True),
        "inception-v3": Inception,
    }
    return makers[name]().eval()


def logits(name, state):
    """Return what the PyTorch module of a network gives, under a `state_dict` of NumPy arrays."""
    import torch

    network = module(name)
    network.load_state_dict({at: torch.tensor(array) for at, array in state.items()}, strict=True)
    x = torch.tensor(inputs(name))
    x = x.long() if x.ndim == 2 else x.permute(0, 3, 1, 2)
    with torch.no_grad():
        return network(x).numpy()


def shapes(name):
    return {at: list(array.shape) for at, array in module(name).state_dict().items()}


def main():
    content = {}
    for name in NETWORKS:
        state = shapes(name)
        values = logits(name, draw(state)).astype(float).round(7)
        content[name] = {"logits": values.tolist(), "shapes": state}
    lines = [f'"{name}": {json.dumps(entry)}' for name, entry in content.items()]
    FILE.write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
