from fusionbench.testing import parametrize


@parametrize("my-plugin")
def test_conforms(check):
    check()
