"""Show a profile, and its comparison with a meter, as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.table import Table
from rich.text import Text

from agent.cli.profile.source import ProfileFinding, Source
from agent.cli.profile.trial import GOOD, Trial
from agent.cli.shared.terminal import listing, show
from agent.core.texts import count, unit_of
from drivers.modbus.block_plan import WireCost, plan_reads
from drivers.profile.model import Field, Profile, Register

MARKS = {True: "yes", False: ""}


def show_profile(profile: Profile, remarks: Sequence[ProfileFinding], source: Source) -> None:
    """What the profile reads, how, and what is doubtful."""
    title = Text.assemble((profile.model, "bold"), f"  {profile.vendor}: {profile.description}")
    show(title, "", *_facts(profile, source), "", measurands(profile), *_doubtful(remarks, source))


def show_models(models: Mapping[str, Source]) -> None:
    """One line for each model."""
    made = listing(("l", "model"), ("l", "vendor"), ("r", "values"), ("L", "what it is"))
    for model, source in models.items():
        profile = source.profile
        if profile is None:
            made.add_row(model, "", "", Text(f"{source.file}: {count(len(source.mistakes), 'mistake')}", "yellow"))
        else:
            made.add_row(model, profile.vendor, str(len(profile.measurands)), profile.description)
    show(made)


def measurands(profile: Profile) -> Table:
    """One line for each measurand."""
    columns = [("l", "measurand"), ("l", "unit"), ("l", "kind")]
    if profile.protocol != "modbus":
        made = listing(*columns, ("r", "step"), ("l", "default"), ("L", "code"))
        for each in profile.fields:
            step, chosen = f"{each.resolution.step:f}", MARKS[each.measurand in profile.default]
            made.add_row(each.measurand, unit_of(each.measurand), each.meaning.kind, step, chosen, _codes(each))
        return made
    made = listing(
        *columns, ("r", "FC"), ("r", "address"), ("l", "type"), ("r", "scale"), ("r", "step"), ("l", "default")
    )
    for register in profile.registers:
        made.add_row(
            register.measurand,
            unit_of(register.measurand),
            register.meaning.kind,
            str(register.function_code),
            f"{'+' if register.relative else ''}{register.address} ({register.address:#06x})",
            register.data_type + (" low first" if register.word_order == "little" and register.count > 1 else ""),
            _scale(register),
            f"{register.resolution.step:f}",
            MARKS[register.measurand in profile.default],
        )
    return made


def _codes(field: Field) -> str:
    """`a, else b - c`."""
    sums = []
    for codes in field.sums:
        text = "".join(f" {'+' if sign > 0 else '-'} {code}" for sign, code in codes)
        sums.append(text.removeprefix(" + ").strip())
    return ", else ".join(sums)


def _scale(register: Register) -> str:
    if register.scale_register is not None:
        return f"10^[+{register.scale_register}]" if register.relative else f"10^[{register.scale_register}]"
    return f"{float(register.scale):.10g}"


def _facts(profile: Profile, source: Source) -> Iterable[str]:
    serial = profile.serial
    line = f"{serial.baudrate} {serial.databits}{serial.parity}{serial.stopbits}"
    yield f"file       {source.file}" + (f" (overrides the shipped {source.hides.name})" if source.hides else "")
    if profile.protocol == "modbus":
        yield f"line       {line}, unit {serial.unit} (factory settings)"
        cost = WireCost.serial(serial.baudrate, serial.parity, serial.stopbits, profile.timing.answer_typical_ms)
        for name, chosen in (("default", profile.default), ("all", profile.measurands)):
            blocks = plan_reads(profile.select(chosen), profile.limits, cost)
            spent_ms = sum(cost.block_ms(block.count) for block in blocks) + profile.timing.quiet_ms * len(blocks)
            words = f"{count(len(chosen), 'value')} in {count(len(blocks), 'request')}, {spent_ms:.0f} ms on that line"
            yield f"{name:10} {words}"
    else:
        yield f"line       {line}, {profile.protocol}"
    yield f"ratios     current: {profile.ct}, voltage: {profile.vt}"
    for text in profile.caveats:
        yield f"caveat     {text}"
    for text in profile.sources:
        yield f"source     {text}"
    if source.examples:
        yield f"test       {count(source.examples, 'example')} tested"


def _doubtful(remarks: Sequence[ProfileFinding], source: Source) -> Iterable[str | Text]:
    if remarks:
        yield ""
    for remark in remarks:
        kind, style = ("hint", "dim") if remark.is_hint else ("warning", "yellow")
        yield Text(f"{kind}: {remark.describe(source.file)}", style)


def show_trial(trial: Trial) -> None:
    """Each measurand with its value, registers and verdict."""
    meter = trial.meter
    where = f"unit {meter.unit} on {meter.line.port} ({meter.line.settings}), read in {trial.took_ms} ms"
    columns = [("l", "measurand"), ("r", "value"), ("l", "unit"), ("r", "from"), ("L", "registers"), ("L", "verdict")]
    made = listing(*columns)
    for each in trial.verdicts:
        style = "green" if each.verdict == GOOD else "yellow"
        value = Text(each.value or "missing", "bold" if each.value else "yellow")
        made.add_row(each.measurand, value, unit_of(each.measurand), each.place, each.raw, Text(each.verdict, style))
    show("", Text.assemble(("against", "bold"), f"  {where}"), *_says(trial), made, *_summary(trial))


def _says(trial: Trial) -> Iterable[str]:
    if trial.says:
        yield "it says: " + ", ".join(f"{name.replace('_', ' ')} {text}" for name, text in trial.says.items())
    for text in trial.marks:
        yield f"mark: {text}"


def _summary(trial: Trial) -> Iterable[str | Text]:
    yield ""
    for text in trial.remarks:
        yield Text(text, "yellow")
    bad = sum(each.verdict != GOOD for each in trial.verdicts)
    total = count(len(trial.verdicts), "measurand")
    yield Text(f"{total}, all good", "green") if not bad else Text(f"{total}, {bad} to look at", "yellow")
