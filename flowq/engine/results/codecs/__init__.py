"""From values to bytes and back, by the value's type and the annotations of steps."""

from flowq.engine.results.codecs.annotations import adapter_for, coerce, problems
from flowq.engine.results.codecs.encoding import Encoded, decode, encode
from flowq.engine.results.codecs.files import local_files

__all__ = ["Encoded", "adapter_for", "coerce", "decode", "encode", "local_files", "problems"]
