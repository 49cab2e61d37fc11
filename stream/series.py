"""Small numbers for names: the devices and (device, sensor) series that a partition has seen."""

from collections.abc import Iterable, Sequence
from itertools import repeat

import numpy as np
import numpy.typing as npt

from models.tables import Coded

Int32 = npt.NDArray[np.int32]
UNKNOWN = -1


class Series:
    """Numbers devices and series from 0 in order of appearance, up to `max_devices` devices."""

    def __init__(self, max_devices: int) -> None:
        self.max_devices = max_devices
        self.devices: list[str] = []
        self.sensors: list[str] = []
        """Sensor name of each series."""
        self._device_ids: dict[str, int] = {}
        self._sensor_ids: dict[str, int] = {}
        # By sensor number << 32 | device number: integers are cheaper than tuples of names.
        self._series_ids: dict[int, int] = {}
        self._device_of: list[int] = []
        self._device_of_array = np.empty(0, dtype=np.int32)

    @classmethod
    def restored(
        cls, max_devices: int, devices: Sequence[str], sensors: Sequence[str], device_of: Iterable[int]
    ) -> "Series":
        """The numbering that gave these lists."""
        series = cls(max_devices)
        series.devices = list(devices)
        series._device_ids = {name: i for i, name in enumerate(series.devices)}
        for sensor, device in zip(sensors, device_of, strict=True):
            series._series_id(device, sensor)
        return series

    def device_ids(self, names: Sequence[str]) -> Int32:
        """Number of each device; UNKNOWN for a new one beyond `max_devices`."""
        get = self._device_ids.get
        ids = np.fromiter(map(get, names, repeat(UNKNOWN)), dtype=np.int32, count=len(names))
        for i in np.flatnonzero(ids == UNKNOWN).tolist():
            ids[i] = self._device_id(names[i])
        return ids

    def series_ids(self, device: Int32, sensors: Sequence[str]) -> Int32:
        """Number of each (device number, sensor) pair."""
        sensor = np.fromiter(map(self._sensor_ids.get, sensors, repeat(UNKNOWN)), dtype=np.int64, count=len(sensors))
        keys = (sensor << 32 | device).tolist()
        ids = np.fromiter(map(self._series_ids.get, keys, repeat(UNKNOWN)), dtype=np.int32, count=len(keys))
        for i in np.flatnonzero(ids == UNKNOWN).tolist():
            ids[i] = self._series_id(int(device[i]), sensors[i])
        return ids

    @property
    def device_of(self) -> Int32:
        """Device number of each series."""
        if len(self._device_of_array) != len(self._device_of):
            self._device_of_array = np.array(self._device_of, dtype=np.int32)
        return self._device_of_array

    def names_of(self, series: Int32) -> tuple[Coded, Coded]:
        """Device and sensor names of a column of series."""
        distinct, place = np.unique(series, return_inverse=True)
        device = Coded.of([self.devices[number] for number in self.device_of[distinct].tolist()])
        sensor = Coded.of([self.sensors[number] for number in distinct.tolist()])
        return device.at(place), sensor.at(place)

    def _device_id(self, name: str) -> int:
        known = self._device_ids.get(name)
        if known is not None:
            return known
        return UNKNOWN if len(self.devices) >= self.max_devices else self._new_device(name)

    def _new_device(self, name: str) -> int:
        self._device_ids[name] = number = len(self.devices)
        self.devices.append(name)
        return number

    def _series_id(self, device: int, sensor: str) -> int:
        key = self._sensor_ids.setdefault(sensor, len(self._sensor_ids)) << 32 | device
        known = self._series_ids.get(key)
        if known is not None:
            return known
        self._series_ids[key] = number = len(self.sensors)
        self.sensors.append(sensor)
        self._device_of.append(device)
        return number
