"""What somebody may have meant by a wrong command line: the line as it should be, to be pasted into a shell."""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from musetalk_cli.engine.types.addresses import is_address, show_address
from musetalk_cli.hints import find_nearest, join, one_of

# What other programs call an option of ours, by its name in this one.
FOREIGN = {
    "input_": "--input -i --in --audio --voice --speech --wav --file --source --audio_path --audio-path --driven_audio",
    "avatar": "--face --image --photo --portrait --video --character --video_path --video-path --source_image --person",
    "output": "--out --outfile --output-file --output_file --dest --target -O",
    "overwrite": "--force --yes -y --replace",
    "force": "--overwrite --yes -y --replace",
    "size": "--height --resolution --res",
    "fps": "--framerate --frame-rate --frame_rate -r",
    "quiet": "--silent -s",
}
IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".gif", ".tif", ".tiff", ".bmp")
AUDIO = (".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".aiff")
OUTPUTS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".m3u8")


class Line(NamedTuple):
    """A command line that was refused: ``words`` behind the program's name, the ``command`` (Typer's) that they ask
    for, and how many of them are its name."""

    words: list[str]
    command: Any
    num_names: int

    @property
    def path(self) -> str:
        """``musetalk avatars show``"""
        return " ".join(["musetalk", *self.words[: self.num_names]])

    def find_option(self, name: str) -> str | None:
        """How the command calls the option that this program calls ``name``; None if it has none."""
        found = next((each for each in self.command.params if each.name == name), None)
        return found.opts[-1] if found is not None and found.param_type_name == "option" else None

    @property
    def takes_input(self) -> bool:
        """Whether the input is an argument, not an option."""
        names = ("input_", "inputs")
        return any(each.name in names and each.param_type_name == "argument" for each in self.command.params)

    def arguments(self) -> list[int]:
        """Where its arguments are among ``words``: what is neither an option nor an option's value."""
        values = {
            opt: not option.is_flag for option in self._options() for opt in (*option.opts, *option.secondary_opts)
        }
        found, is_value, is_behind = [], False, False
        for index, word in enumerate(self.words[self.num_names :], self.num_names):
            if is_value:
                is_value = False
            elif word == "--" and not is_behind:
                is_behind = True
            elif is_behind or word == "-" or not word.startswith("-"):
                found.append(index)
            else:
                is_value = values.get(word, False)
        return found

    def replaced(self, index: int, *words: str) -> str:
        """The line with other words in one's place, ready to be pasted.

        A line that holds a secret is not repeated; then what is to be changed is said.
        """
        if any(_as_shown(word) != word for word in self.words):
            return f"write {words[0]} instead" if words and words[0].startswith("-") else "leave the option's name out"
        return show([*self.words[:index], *words, *self.words[index + 1 :]])

    def _options(self) -> Iterator[Any]:
        return (param for param in self.command.params if param.param_type_name == "option")


def show(words: Sequence[str]) -> str:
    """``musetalk`` and the words, quoted; what is secret in an address is left out."""
    return join(["musetalk", *map(_as_shown, words)])


def _as_shown(word: str) -> str:
    """An address, or one that is joined to its option, without what is secret in it; other words as they are."""
    joined = re.fullmatch(r"(--[\w-]+=|-[A-Za-z])(.+)", word, re.DOTALL)
    return joined[1] + show_address(joined[2]) if joined else show_address(word)


def read_line(words: Sequence[str], root: Any) -> Line:
    """Find the command that a line asks for. ``root``: Typer's group of all commands."""
    command, index = root, 0
    while hasattr(command, "commands") and index < len(words) and words[index] in command.commands:
        command, index = command.commands[words[index]], index + 1
    return Line(list(words), command, index)


def correct_option(wrong: str, line: Line, root: Any) -> str:
    """A hint for an option that the command does not have; empty if nothing is like it."""
    index = next((at for at, word in enumerate(line.words) if word == wrong or word.startswith(f"{wrong}=")), None)
    if index is None:
        return ""
    joined = line.words[index].partition("=")
    value = joined[2] if joined[1] else next(iter(line.words[index + 1 : index + 2]), "")
    if wrong == "--face" and value.isdigit():
        return _choose_face(value, line)
    owners = [name for name, command in root.commands.items() if wrong in _names_of(command)]
    for name, foreign in FOREIGN.items():
        if wrong in foreign.split() and (hint := _translate(name, index, line)):
            return hint
    if owners:
        belongs = f"{wrong} is an option of {one_of([f'musetalk {each}' for each in owners])}"
        return f"{belongs}; see {line.path} --help"
    near = find_nearest(wrong.lstrip("-"), [each.lstrip("-") for each in _names_of(line.command) if len(each) > 2])
    return f"did you mean --{near}? see {line.path} --help" if near else ""


def correct_argument(line: Line) -> tuple[str, str] | None:
    """The first argument too many, and a hint; None where there is none."""
    most = sum(1 for each in line.command.params if each.param_type_name == "argument")
    found = line.arguments()
    if len(found) <= most:
        return None
    return _correct(found[most], line)


def correct_inputs(inputs: Sequence[str], root: Any, words: Sequence[str] | None = None) -> tuple[str, str] | None:
    """The same for ``render``, whose inputs may be many: None where both of two can be voices.

    Args:
        inputs: the arguments.
        root: Typer's group of all commands.
        words: the command line behind the program's name; that of this process by default.
    """
    line = read_line(sys.argv[1:] if words is None else words, root)
    found = line.arguments()
    if len(inputs) != 2 or len(found) != 2 or all(map(_may_be_voice, inputs)):
        return None
    return _correct(found[1], line)


def _may_be_voice(name: str) -> bool:
    if is_address(name) or name == "-" or any(char in name for char in "*?"):
        return True
    return not name.lower().endswith(IMAGES) and (Path(name).exists() or name.lower().endswith(AUDIO))


def _correct(index: int, line: Line) -> tuple[str, str]:
    for place in (_swap, _name_avatar, _name_output, _name_input, _name_name):
        if hint := place(index, line):
            return line.words[index], hint
    return line.words[index], f"see {line.path} --help"


def explain_missing_input(command: str, examples: Sequence[str], words: Sequence[str] | None = None) -> tuple[str, str]:
    """What to say, and a hint, where nothing says what is to be spoken.

    Args:
        command: ``render`` or ``stream``.
        examples: lines that work.
        words: the command line behind the program's name; that of this process by default.
    """
    given = list(sys.argv[1:] if words is None else words)
    if not is_piped() or command not in given:
        return "there is no input", "; ".join(examples)
    behind = given.index(command) + 1
    words = ["--input", "-"] if command == "stream" else ["-"]
    message = "there is no input, and standard input is read only when asked to"
    if any(_as_shown(word) != word for word in given):
        return message, f"add {' '.join(words)}"
    return message, show([*given[:behind], *words, *given[behind:]])


def is_piped() -> bool:
    """Whether standard input is a pipe or a file, so that something may be in it."""
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def _translate(name: str, index: int, line: Line) -> str:
    """The line with our name for an option of others, or without one where it is an argument."""
    _, is_joined, value = line.words[index].partition("=")
    words = [value] if is_joined else []
    is_argument = line.takes_input and (name == "input_" or (name == "avatar" and not line.find_option("avatar")))
    own = None if is_argument else line.find_option(name)
    if not is_argument and own is None:
        return ""
    if is_argument and any(at != index + 1 for at in line.arguments()):  # it has an input already
        return ""
    if own is None and not is_joined:  # the value behind it stays where it is
        return line.replaced(index) if index + 1 < len(line.words) else ""
    return line.replaced(index, *([own] if own else []), *words)


def _choose_face(number: str, line: Line) -> str:
    avatar = next((line.words[at + 1] for at, word in enumerate(line.words[:-1]) if word == "--avatar"), "FACE")
    prepare = join(["musetalk", "prepare-avatar", avatar, "--face", number, "--name", "mine"])
    return f"it is chosen once: {prepare}, then --avatar mine"


def _swap(index: int, line: Line) -> str:
    """``render me.jpg hello.wav``: the face stands where the voice should."""
    first = line.arguments()[0]
    face, voice = line.words[first].lower(), line.words[index].lower()
    is_name = not Path(line.words[first]).exists() and not is_address(face) and face != "-"
    is_swapped = face.endswith(IMAGES) or (voice.endswith(AUDIO) and (face.endswith(OUTPUTS) or is_name))
    if not (is_swapped and line.takes_input and line.find_option("avatar")):
        return ""
    words = [word for at, word in enumerate(line.words) if at not in (first, index)]
    words[line.num_names : line.num_names] = [line.words[index], "--avatar", line.words[first]]
    return show(words)


def _name_avatar(index: int, line: Line) -> str:
    word = line.words[index]
    option = line.find_option("avatar")
    is_output = (word.lower().endswith(OUTPUTS) and not Path(word).exists()) or is_address(word) or word.endswith("/")
    is_first = line.find_option("input_") and not _has_input(line)
    if not option or is_output or is_first or (word.isdigit() and line.find_option("port")):
        return ""
    return line.replaced(index, option, word)


def _name_output(index: int, line: Line) -> str:
    word = line.words[index]
    if not line.find_option("output") or (line.find_option("input_") and not _has_input(line)):
        return ""
    return line.replaced(index, "-o", word)


def _name_input(index: int, line: Line) -> str:
    word = line.words[index]
    if line.words[index] in ("mic", "demo") and line.find_option(word):
        return line.replaced(index, f"--{word}")
    return line.replaced(index, "--input", word) if line.find_option("input_") else ""


def _name_name(index: int, line: Line) -> str:
    """What only ``prepare-avatar`` and ``serve`` take."""
    word = line.words[index]
    if line.find_option("port") and word.isdigit():
        return line.replaced(index, "--port", word)
    if not line.find_option("name"):
        return ""
    if is_address(word) or Path(word).exists():
        return "prepare one input at a time, or give a folder of images, which are the frames of one avatar"
    return line.replaced(index, "--name", word)


def _has_input(line: Line) -> bool:
    names = ("-i", "--input", "--mic", "--demo")
    return any(word.split("=")[0] in names for word in line.words)


def _names_of(command: Any) -> list[str]:
    options = [each for each in command.params if each.param_type_name == "option" and not each.hidden]
    return [name for option in options for name in (*option.opts, *option.secondary_opts)]
