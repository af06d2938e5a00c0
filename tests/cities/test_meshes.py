"""Meshes stand on their ground; their axes and units are guessed only without doubt."""

from pathlib import Path

import numpy as np
import pytest

from pinca_lib import InputError, load_city
from pinca_lib.cities.place import Grid
from pinca_lib.cities.triangles import highest, triangulated

trimesh = pytest.importorskip("trimesh")


def block(west, south, east, north, low, high):
    made = trimesh.creation.box(bounds=[(west, south, low), (east, north, high)])
    return made


def town(*more) -> list:
    """A hall in the south-west and a tower in the north-east, z up, in metres."""
    return [block(0, 0, 60, 40, 0, 12), block(180, 160, 200, 200, 0, 30), *more]


def written(folder: Path, pieces, name="town.obj", y_up=False, scale=1.0) -> Path:
    mesh = trimesh.util.concatenate(pieces)
    mesh.apply_scale(scale)
    if y_up:  # x stays, z points south
        mesh.vertices = mesh.vertices[:, [0, 2, 1]] * (1, 1, -1)
    mesh.export(folder / name)
    return folder / name


def check_town(place):
    counts = {height: (np.abs(place.heights - height) < 0.01).sum() * 4 for height in (12, 30)}
    assert counts == {12: 60 * 40, 30: 20 * 40}
    assert (place.heights > 0).sum() * 4 == 60 * 40 + 20 * 40
    rows, columns = np.nonzero(place.heights > 20)
    low_rows, low_columns = np.nonzero((place.heights > 0) & (place.heights < 20))
    assert rows.min() > low_rows.max()
    assert columns.min() > low_columns.max()


@pytest.mark.parametrize("name", ["town.obj", "town.stl", "town.ply"])
@pytest.mark.parametrize("y_up", [False, True])
def test_axis_and_metres_are_guessed_of_a_plain_model(tmp_path, name, y_up):
    place = load_city(written(tmp_path, town(), name, y_up))
    check_town(place)
    assert any(f"{'y' if y_up else 'z'} is taken as the axis" in r for r in place.remarks)
    assert any("Coordinates are taken as m" in r for r in place.remarks)


@pytest.mark.parametrize("name", ["town.glb", "town.gltf"])
def test_gltf_has_y_up_and_metres(tmp_path, name):
    check_town(load_city(written(tmp_path, town(), name, y_up=True)))


def test_gltf_with_z_up_is_asked_about_and_a_wrong_axis_is_remarked(tmp_path):
    path = written(tmp_path, town(), "town.glb")
    with pytest.raises(InputError, match="glTF means y, but .* z"):
        load_city(path)
    check_town(load_city(path, up="z"))
    place = load_city(written(tmp_path, town()), up="y")
    assert any("as if z, not y, pointed up" in remark for remark in place.remarks)


def test_10_m_in_millimetres_are_asked_for_with_what_each_unit_makes_of_them(tmp_path):
    path = written(tmp_path, [block(0, 0, 40, 30, 0, 10), block(60, 0, 80, 30, 0, 8)], scale=1000)
    with pytest.raises(InputError, match="unit='mm' makes it .*80 m × 30 m.*10 m high.*unit='cm'"):
        load_city(path)
    assert load_city(path, unit="mm").heights.max() == pytest.approx(10)


def test_a_model_with_its_site_keeps_them_in_the_units_of_the_file(tmp_path):
    path = written(tmp_path, town(), scale=100)
    place = load_city(path, unit="cm", site=(17_000, 15_000, 21_000, 21_000))
    assert place.site_grid.bounds == (170, 150, 210, 210)


def test_an_axis_in_doubt_is_asked_for(tmp_path):
    path = written(tmp_path, [block(0, 0, 40, 40, 0, 40)])
    with pytest.raises(InputError, match="which axis points up.*up='z'.*up='y'"):
        load_city(path)
    assert load_city(path, up="z").heights.max() == pytest.approx(40)


@pytest.mark.parametrize("thickness", [0.0, 0.5])
def test_a_ground_plane_is_no_roof(tmp_path, thickness):
    if thickness:
        ground = block(-100, -100, 300, 300, -thickness, 0)
    else:
        ground = trimesh.Trimesh([(-100, -100, 0), (300, -100, 0), (300, 300, 0), (-100, 300, 0)],
                                 [(0, 1, 2), (0, 2, 3)])  # fmt: skip
    place = load_city(written(tmp_path, town(ground)))
    check_town(place)
    assert any("ground plane or terrain" in remark for remark in place.remarks)


def slope(x):
    return 50 + 0.1 * x


def test_heights_are_above_the_terrain_under_each_building(tmp_path):
    x, y = (side.ravel() for side in np.meshgrid(np.arange(-100, 301, 20.0),
                                                 np.arange(-100, 301, 20.0)))  # fmt: skip
    corner = np.arange(21 * 20).reshape(20, 21)[:, :20].ravel()
    faces = np.concatenate([np.stack([corner, corner + 1, corner + 22], axis=1),
                            np.stack([corner, corner + 22, corner + 21], axis=1)])  # fmt: skip
    terrain = trimesh.Trimesh(np.stack([x, y, slope(x)], axis=1), faces)
    hall, tower = block(0, 0, 60, 40, 48, slope(30) + 12), block(180, 160, 200, 200, 60, 99)
    place = load_city(written(tmp_path, [terrain, hall, tower]))
    tall = place.heights[place.heights > 20]
    assert tall.size * 4 == 20 * 40
    np.testing.assert_allclose(tall.mean(), 99 - slope(190), atol=0.1)
    assert (place.heights > 0).sum() * 4 == 60 * 40 + 20 * 40


def test_without_terrain_heights_are_above_the_foot_of_each_building(tmp_path):
    shaft = block(188, 170, 196, 180, 50, 54)  # on the tower's roof
    pieces = [block(0, 0, 60, 40, 0, 12), block(180, 160, 200, 200, 20, 50), shaft]
    place = load_city(written(tmp_path, pieces), up="z")
    assert place.heights.max() == pytest.approx(34)
    assert sorted(set(np.round(place.heights[place.heights > 0]))) == [12, 30, 34]
    assert any("foot of each" in remark for remark in place.remarks)


def test_terrain_and_buildings_in_one_surface_are_refused(tmp_path):
    x, y = np.meshgrid(np.arange(0, 401, 10.0), np.arange(0, 401, 10.0))
    z = 100 + 0.1 * x + 15 * ((x // 50) % 2 > 0)
    corner = np.arange(41 * 40).reshape(40, 41)[:, :40].ravel()
    faces = np.concatenate([np.stack([corner, corner + 1, corner + 42], axis=1),
                            np.stack([corner, corner + 42, corner + 41], axis=1)])  # fmt: skip
    skin = trimesh.Trimesh(np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1), faces)
    with pytest.raises(InputError, match="would count as roofs"):
        load_city(written(tmp_path, [skin]), up="z")


def test_the_notch_of_an_l_shaped_face_stays_open(tmp_path):
    outline = [(40, 0), (40, 40), (0, 40), (0, 80), (80, 80), (80, 0)]
    lines = [f"v {x} {y} {z}" for z in (0, 9) for x, y in outline]
    lines += ["f 1 2 3 4 5 6", "f 7 8 9 10 11 12"]
    lines += [f"f {k + 1} {(k + 1) % 6 + 1} {(k + 1) % 6 + 7} {k + 7}" for k in range(6)]
    (tmp_path / "l.obj").write_text("\n".join(lines))
    place = load_city(tmp_path / "l.obj")
    assert (place.heights > 0).sum() * 4 == 80 * 80 - 40 * 40


@pytest.mark.parametrize("name", ["town.obj", "town.stl", "town.ply", "town.glb", "town.gltf"])
@pytest.mark.parametrize("content", ["nonsense", "{}", "v 1 2\nf 1 2 3"])
def test_a_damaged_mesh_is_said_to_be_so(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=f"^{name}: ") as caught:
        load_city(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"up": "x"}, {"unit": "furlong"}])
def test_a_wrong_axis_or_unit_names_the_right_ones(tmp_path, wrong):
    with pytest.raises(InputError, match="expected"):
        load_city(written(tmp_path, town()), **wrong)


def test_triangles_cover_the_cells_whose_centres_they_hold():
    random = np.random.default_rng(0)
    triangles = random.uniform(-5, 45, (60, 3, 3))
    grid = Grid(0.0, 0.0, 2.0, (20, 22))
    drawn = highest(triangles, grid)
    expected = np.full(grid.shape, -np.inf)
    for a, b, c in triangles:
        for row, column in np.ndindex(grid.shape):
            point = np.array([2 * column + 1, 2 * row + 1])
            weights = np.linalg.solve(np.array([[*(b - a)[:2]], [*(c - a)[:2]]]).T, point - a[:2])
            if weights.min() >= 0 and weights.sum() <= 1:
                z = a[2] + weights @ [(b - a)[2], (c - a)[2]]
                expected[row, column] = max(expected[row, column], z)
    np.testing.assert_allclose(drawn, expected)


def test_a_surface_is_cut_around_its_hole():
    square = np.array([(0, 0, 3), (10, 0, 3), (10, 10, 3), (0, 10, 3)], float)
    hole = square * 0.5 + (2.5, 2.5, 1.5)
    triangles, owner = triangulated([[square, hole]])
    sides = triangles[:, 1:, :2] - triangles[:, :1, :2]
    assert np.abs(np.linalg.det(sides)).sum() / 2 == pytest.approx(75)
    assert (owner == 0).all()
    assert (triangles[..., 2] == 3).all()
