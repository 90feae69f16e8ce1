"""What the meters of all telegram protocols have in common: columns, a reader of fields, and how they say errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, TypeVar

from drivers.meter import MeterError, Notice, Reason, Sample
from drivers.profile.model import Profile
from drivers.telegrams.fields import FieldReader
from drivers.telegrams.stream_line import StreamLine
from drivers.telegrams.telegram import Telegram, TelegramError
from wire.batch import Column

L = TypeVar("L", bound=StreamLine)
SAID_MAX = 100
CORRECT_MODEL = "correct the meter's model, or write a profile for it"


class TelegramMeter(Generic[L]):
    """`measurands` None means the profile's default set; `unit` is an address where the protocol has them.

    `given` is the telegram of the last reading; `ct_ratio` counts where the profile leaves it to the box.
    """

    operation = "read"
    in_lists = False  # whether telegrams of one meter may have different contents

    def __init__(
        self,
        line: L,
        profile: Profile,
        name: str,
        measurands: Sequence[str] | None = None,
        ct_ratio: float = 1,
        unit: int | None = None,
    ) -> None:
        self.line = line
        self.profile = profile
        self.unit = profile.serial.unit if unit is None else unit
        self.given: Telegram | None = None
        self.known: dict[str, str] = {}
        self._shape: tuple[tuple[int, ...], tuple[str, ...]] = ((), ())
        self._said: set[tuple[str, ...]] = set()
        self._nameplate: Mapping[str, str] = {}
        self._name = name
        fields = profile.select_fields(None if measurands is None else tuple(measurands))
        self._columns = tuple(Column(field.measurand, field.resolution) for field in fields)
        self.ct_ratio = ct_ratio if profile.ct == "box" else 1
        self.reader = FieldReader(fields, self.ct_ratio, in_lists=self.in_lists)

    @property
    def name(self) -> str:
        return self._name

    @property
    def columns(self) -> tuple[Column, ...]:
        return self._columns

    @property
    def subject(self) -> str:
        """How errors name it."""
        return f"meter {self._name} (on {self.line.name})"

    def origin(self, measurand: str) -> tuple[str, str]:
        """Under which code the last reading's value came, and what the meter sent there."""
        return self.reader.origin(measurand, self.given) if self.given is not None else ("", "")

    def note(self, telegram: Telegram) -> None:
        """What it says of its meter is known from now on; other than before only when it was said twice.

        Some protocols have no check sum, or a weak one: a digit that noise has changed is no other meter.
        """
        said = nameplate(telegram)
        if said and (not self.known or said == self._nameplate or said.items() <= self.known.items()):
            self.known.update(said)
        self._nameplate = said or self._nameplate

    def sample(self, telegram: Telegram, taken_s: float | None = None) -> Sample:
        """The reading that a telegram is; it becomes the one given last."""
        self.given = telegram
        try:
            values, flags = self.reader(telegram)
        except TelegramError as error:
            raise self.error("garbage", str(error), CORRECT_MODEL) from error
        return Sample(values, flags, taken_s=taken_s, notices=self._notices(telegram, flags))

    def _notices(self, telegram: Telegram, flags: tuple[int, ...]) -> tuple[Notice, ...]:
        """What is new about values that are missing or have several sources; looked at when something has changed."""
        shape = (flags, tuple(item.code for item in telegram.items))
        if shape == self._shape or not (any(flags) or telegram.sources):
            return ()
        self._shape = shape
        notices = []
        for remark in self.reader.remarks(telegram):
            about = (remark.measurand, remark.about, *remark.instead, remark.text if remark.about == "sources" else "")
            if about not in self._said and len(self._said) < SAID_MAX:
                self._said.add(about)
                notices.append(remark.notice())
        return tuple(notices)

    def error(self, reason: Reason, cause: str, next_step: str) -> MeterError:
        """An error about this meter."""
        return MeterError(reason, operation=self.operation, subject=self.subject, cause=cause, next_step=next_step)


def nameplate(telegram: Telegram) -> Mapping[str, str]:
    """What a telegram says of its meter."""
    known = {"serial_number": telegram.serial_number, "identification": telegram.identification}
    return {key: text for key, text in known.items() if text}
