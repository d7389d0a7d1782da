"""Characters of a text, for language models: `text`, or `text:FILE` for a file in UTF-8.

`text` is the help on Python's topics, `pydoc_data.topics`, which every Python carries; it differs
between versions of Python, and so does its digest. An example is a row of `context` characters; its
labels are the characters that follow each. The last tenth of the text is for testing. Characters
are numbered in the order of their code points, those of the whole text: a character that only the
last tenth has is a class too, which no training example shows and whose test loss is high.
"""

import numpy as np

from jaxlth.data import sources
from jaxlth.data.config import TEXT, DataConfig

TEST_SHARE = 0.1


def read(config: DataConfig) -> sources.Published:
    """Return the examples of a text, token ids (n, context) int32 and labels of the same shape.

    Raises:
      DataError: the file is missing, not in UTF-8, too short, or of one character only.

    Example:
      >>> read(DataConfig(name="text", context=32)).train.images.shape[1:]
      (32,)
    """
    text = _content(config)
    code_points = np.frombuffer(text.encode("utf-32-le"), "<u4")
    characters, tokens = np.unique(code_points, return_inverse=True)
    tokens = tokens.astype(np.int32)
    test_size = round(TEST_SHARE * len(tokens))
    if test_size <= config.context or len(characters) < 2:
        raise sources.DataError(
            f"{config.name} has {len(tokens)} characters, {len(characters)} of them different; at"
            f" least {round((config.context + 1) / TEST_SHARE)} of two kinds are needed, so that"
            f" the last tenth holds an example of `context` {config.context}."
        )
    return sources.Published(
        train=_examples(tokens[:-test_size], config.context),
        test=_examples(tokens[-test_size:], config.context),
        classes=len(characters),
    )


def _content(config: DataConfig) -> str:
    if config.name == TEXT:
        from pydoc_data import topics  # half a megabyte that only this set needs

        return "\n".join(topics.topics[name] for name in sorted(topics.topics))
    path = sources.file(config.directory, config.name.removeprefix(f"{TEXT}:"))
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise sources.DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise sources.DataError(
            f"{path} is no text in UTF-8: byte {error.start} is none."
        ) from error
    if "\0" in text:
        raise sources.DataError(
            f"{path} is no text: it has characters 0, as UTF-16 has; save it as UTF-8."
        )
    return text


def _examples(tokens: np.ndarray, context: int) -> sources.Split:
    """Return rows of tokens that do not overlap, and the tokens that follow each."""
    count = (len(tokens) - 1) // context
    rows = tokens[: count * context].reshape(count, context)
    following = tokens[1 : count * context + 1].reshape(count, context)
    return sources.Split(rows, following)
