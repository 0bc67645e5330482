"""Find a processor by name or by file, so that users run their own unchanged.

Processors live outside the package. They travel to workers by value, so an
edited processor runs on a cluster without being installed there.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType

import cloudpickle
from coffea.processor import ProcessorABC

from wprops.errors import ConfigError


def processor_folders() -> tuple[Path, ...]:
    """Folders searched for a processor by name: the working one, then the project's."""
    project = Path(__file__).resolve().parents[3]
    return Path.cwd() / "processors", project / "processors"


def find_processor(name: str) -> tuple[Path, str | None]:
    """Turn ``name``, ``name:Class`` or ``path/file.py:Class`` into a file and class.

    Raises
    ------
    ConfigError
        If there is no such file; the message lists what was searched.
    """
    module, _, class_name = name.partition(":")
    if module.endswith(".py"):
        candidates = [Path(module)]
    else:
        candidates = [folder / f"{module}.py" for folder in processor_folders()]
    for path in candidates:
        if path.is_file():
            return path, class_name or None
    searched = ", ".join(str(path) for path in candidates)
    msg = (
        f"there is no processor {name!r}: looked for {searched}. Give the path of a "
        "Python file, with :ClassName if it defines several processors"
    )
    raise ConfigError(msg)


def load_processor(name: str) -> type[ProcessorABC]:
    """Load a processor class from its file and mark it to travel by value.

    Raises
    ------
    ConfigError
        If the file does not define exactly one processor, or not the named one.
    """
    path, class_name = find_processor(name)
    module = _load_module(path)
    classes = {
        key: value
        for key, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, ProcessorABC)
        and value.__module__ == module.__name__
    }
    if class_name is None and len(classes) == 1:
        return next(iter(classes.values()))
    if class_name in classes:
        return classes[class_name]
    found = ", ".join(classes) or "none"
    msg = (
        f"{path} defines these processors: {found}; name one of them as "
        f"{path}:ClassName"
    )
    raise ConfigError(msg)


def _load_module(path: Path) -> ModuleType:
    name = f"wprops_processor_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        msg = f"{path} is not a Python file"
        raise ConfigError(msg)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    cloudpickle.register_pickle_by_value(module)
    return module
