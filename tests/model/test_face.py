import model


def test_every_public_name_is_where_the_face_says():
    for name in model.__all__:
        assert getattr(model, name).__name__ == name
