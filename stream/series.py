"""Small numbers for names: the devices and (device, sensor) series that a partition has seen."""

from collections.abc import Sequence
from itertools import repeat

import numpy as np
import numpy.typing as npt

from models.tables import Coded

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
UNKNOWN = -1


class Series:
    """Numbers devices and series from 0 in order of appearance, up to `max_devices` and `max_series` of them."""

    def __init__(self, max_devices: int, max_series: int) -> None:
        self.max_devices = max_devices
        self.max_series = max_series
        self.devices: list[str] = []
        self.sensors: list[str] = []
        self._device_ids: dict[str, int] = {}
        self._sensor_ids: dict[str, int] = {}
        # Keys (device number << 32 | sensor number) in ascending order, and the series of each: a dictionary of
        # 200,000 integers takes nine times the memory.
        self._keys = np.empty(0, dtype=np.int64)
        self._series_of_key = np.empty(0, dtype=np.int32)
        self._of = np.empty((2, 0), dtype=np.int32)
        """Device and sensor number of each series; grows by doubling, `_count` columns are in use."""
        self._count = 0

    @classmethod
    def restored(
        cls,
        max_devices: int,
        max_series: int,
        devices: Sequence[str],
        sensors: Sequence[str],
        device_of: Int32,
        sensor_of: Int32,
    ) -> "Series":
        """The numbering that gave these names and numbers."""
        series = cls(max_devices, max_series)
        series.devices, series.sensors = list(devices), list(sensors)
        series._device_ids = {name: i for i, name in enumerate(series.devices)}
        series._sensor_ids = {name: i for i, name in enumerate(series.sensors)}
        series._of, series._count = np.stack((device_of, sensor_of)), len(device_of)
        series._add_keys(_key(device_of, sensor_of), np.arange(series._count, dtype=np.int32))
        return series

    def device_ids(self, names: Sequence[str]) -> Int32:
        """Number of each device; UNKNOWN for a new one beyond `max_devices`."""
        get = self._device_ids.get
        ids = np.fromiter(map(get, names, repeat(UNKNOWN)), dtype=np.int32, count=len(names))
        for i in np.flatnonzero(ids == UNKNOWN).tolist():
            ids[i] = self._device_id(names[i])
        return ids

    def series_ids(self, device: Int32, sensors: Sequence[str]) -> Int32:
        """Number of each (device number, sensor) pair; UNKNOWN for a new one beyond `max_series`."""
        sensor = np.fromiter(map(self._sensor_ids.get, sensors, repeat(UNKNOWN)), dtype=np.int32, count=len(sensors))
        ids = self._known(_key(device, sensor))
        unknown = np.flatnonzero(ids == UNKNOWN).tolist()
        if unknown:
            added: dict[int, int] = {}
            for i in unknown:
                ids[i] = self._series_id(int(device[i]), sensors[i], added)
            if added:
                self._add_keys(np.array(list(added), dtype=np.int64), np.array(list(added.values()), dtype=np.int32))
        return ids

    def _known(self, keys: Int64) -> Int32:
        """Series of each key; UNKNOWN for one that is not there."""
        if len(self._keys) == 0:
            return np.full(len(keys), UNKNOWN, dtype=np.int32)
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        return np.where(self._keys[place] == keys, self._series_of_key[place], np.int32(UNKNOWN))

    def _add_keys(self, keys: Int64, series: Int32) -> None:
        keys, series = np.concatenate((self._keys, keys)), np.concatenate((self._series_of_key, series))
        order = np.argsort(keys)
        self._keys, self._series_of_key = keys[order], series[order]

    @property
    def device_of(self) -> Int32:
        """Device number of each series."""
        return self._of[0, : self._count]

    @property
    def sensor_of(self) -> Int32:
        """Sensor number of each series: its place in `sensors`."""
        return self._of[1, : self._count]

    def names_of(self, series: Int32) -> tuple[Coded, Coded]:
        """Device and sensor names of a column of series."""
        present = np.zeros(self._count, dtype=bool)
        present[series] = True
        distinct, place = np.flatnonzero(present), (np.cumsum(present) - 1)[series]
        device = Coded.of([self.devices[number] for number in self.device_of[distinct].tolist()])
        sensor = Coded.of([self.sensors[number] for number in self.sensor_of[distinct].tolist()])
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

    def _series_id(self, device: int, name: str, added: dict[int, int]) -> int:
        """Number of a series that was not known before the call that `added` others already."""
        sensor = self._sensor_ids.get(name)
        if sensor is not None and (known := added.get(device << 32 | sensor)) is not None:
            return known
        if self._count >= self.max_series:
            return UNKNOWN
        if sensor is None:
            sensor = self._sensor_ids[name] = len(self.sensors)
            self.sensors.append(name)
        if self._count == self._of.shape[1]:
            self._of = np.concatenate((self._of, np.zeros((2, max(64, self._count)), dtype=np.int32)), axis=1)
        added[device << 32 | sensor] = number = self._count
        self._of[:, number] = device, sensor
        self._count += 1
        return number


def _key(device: Int32, sensor: Int32) -> Int64:
    return device.astype(np.int64) << 32 | sensor
