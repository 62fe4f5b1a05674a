"""The elements of Matroska and WebM files (RFC 8794, RFC 9559)."""

SEGMENT, CLUSTER = 0x18538067, 0x1F43B675


def elements(file, entered, turns):
    """Yields (kind, place, length, first bytes) of the content of elements, in the order of the file.

    The length is None where it is unknown.

    Args:
        file: A file that is open for reading.
        entered: The kinds whose content are elements that are yielded, too.
        turns: Iterable that yields once for each element that may be looked at.
    """
    place = 0
    for _ in turns:
        file.seek(place)
        header = file.read(20)
        width = 9 - (header[0] if header else 0).bit_length()
        digits = 9 - (header[width] if width < len(header) else 0).bit_length()
        content = width + digits
        if max(width, digits) > 8 or content > len(header):
            return
        kind, unknown = int.from_bytes(header[:width]), (1 << 7 * digits) - 1
        length = int.from_bytes(header[width:content]) & unknown
        length = None if length == unknown else length
        place += content
        yield kind, place, length, header[content:][: min(length or 0, 8)]
        if kind not in entered:
            if length is None:
                return
            place += length
