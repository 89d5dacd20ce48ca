"""deploy.yml: what is read, what is refused, and that each problem names its line."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from silt.cli import main
from silt.command_errors import DeploymentError
from silt.deployment.dashboard import dashboard
from silt.deployment.functions import functions_of
from silt.deployment.names import FUNCTION_NAME_MAX, consumer_group, function_key, function_name
from silt.deployment.read import read_deployment
from tests.builders import ROOT
from tests.deployments import write_contract

CLUSTER = (
    "arn:aws:kafka:eu-central-1:123456789012:cluster/my-cluster/"
    "6a1b2c3d-0000-4000-8000-123456789abc-1"
)
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:AmazonMSK_x-AbCdEf"
TOLD = "arn:aws:sns:eu-central-1:123456789012:on-call"
PLAIN = f"""name: silt
region: eu-central-1
contracts: {ROOT}/schemas
table_root: s3://my-lake/tables
msk:
  cluster_arn: {CLUSTER}
topics: [orders]
"""
VPC = "{subnets: [subnet-0a], security_groups: [sg-0a]}"
OWN = PLAIN.replace(
    f"msk:\n  cluster_arn: {CLUSTER}",
    f"self_managed:\n  bootstrap_servers: ['k:9092']\n  authentication: none\n  vpc: {VPC}",
)


def problems(folder: Path, text: str) -> list[str]:
    """Return what is wrong with a file, without its name: line, path and message."""
    file = folder / "deploy.yml"
    file.write_text(text)
    try:
        read_deployment(file)
    except DeploymentError as error:
        return [problem.removeprefix(f"{file}:") for problem in error.problems]
    return []


def of_one_contract(folder: Path, topic: str, table: str) -> str:
    """Return a deployment of one topic, whose contract is written beside it."""
    write_contract(folder / "schemas", topic, table)
    return PLAIN.replace(f"{ROOT}/schemas", "schemas").replace("[orders]", f"['{topic}']")


def test_what_is_set_for_a_topic_goes_before_what_is_set_for_all(tmp_path: Path) -> None:
    file = tmp_path / "deploy.yml"
    file.write_text(
        PLAIN.replace("[orders]", "[{topic: orders, mapping: {window_s: 9}}, clicks]")
        + "mapping: {window_s: 3, batch_size: 500}\nfunction: {memory_mb: 512}\n"
    )
    orders, clicks = read_deployment(file).topics
    assert (orders.mapping.window_s, orders.mapping.batch_size) == (9, 500)
    assert (clicks.mapping.window_s, clicks.mapping.batch_size) == (3, 500)
    assert orders.function.memory_mb == clicks.function.memory_mb == 512
    assert (orders.group, clicks.group) == ("silt-orders", "silt-clicks")
    assert orders.partial_batch_response


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("region:", "regoin:"), "2: regoin: unknown key 'regoin'. Did you mean 'region'?"),
        (("eu-central-1\ncont", "eu-west-1\ncont"), "2: region: eu-west-1 is not the cluster's"),
        (
            ("s3://my-lake/tables", "/tmp/tables"),
            "4: table_root: '/tmp/tables' is not valid. Expected",
        ),
        (
            ("s3://my-lake/tables", "s3://my-lake/t*s"),
            "4: table_root: 's3://my-lake/t*s' is not valid",
        ),
        (("name: silt", "name: Silt_1"), "1: name: 'Silt_1' is not valid. Expected ^[a-z]"),
        (("[orders]", "[order]"), "7: topics.0: there is no contract for the topic 'order'"),
        (("[orders]", "[]"), "7: topics: List should have at least 1 item"),
        (
            ("[orders]", "[orders, orders]"),
            "7: topics.1: 'orders' is listed twice. Two mappings of",
        ),
        (("[orders]", "[{topic: orders, maping: {}}]"), "7: topics.0.maping: unknown key"),
        (("topics:", "topics: [clicks]\ntopics:"), "8: topics: the key 'topics' is listed twice"),
        (
            ("topics:", "architecture: arm\ntopics:"),
            "7: architecture: 'arm' is not one of arm64, x86_64. Did you mean 'arm64'?",
        ),
        (
            ("topics:", "python: 3.13\ntopics:"),
            '7: python: expected a string, but YAML reads 3.13 as a number. Write "3.13"',
        ),
        (("topics:", "log_days: 31\ntopics:"), "7: log_days: 31 is not one of 1, 3, 5"),
        (("topics:", "on_failure: {bucket: my-lake}\ntopics:"), "7: on_failure.bucket: the bucket"),
        (("msk:\n", "msk:\n  authentication: scram\n"), "5: msk: authentication scram needs a"),
        (("msk:\n", f"msk:\n  secret_arn: {SECRET}\n"), "6: msk.secret_arn: authentication iam"),
        (
            ("msk:\n", "msk:\n  authentication: sasl\n"),
            "6: msk.authentication: 'sasl' is not one of iam, scram, mtls, none",
        ),
        (("cluster/my-cluster/", "cluster/"), "6: msk.cluster_arn: 'arn:aws:kafka:"),
        (
            ("msk:\n", f"msk:\n  authentication: scram\n  secret_arn: {SECRET}\n"),
            "5: msk: authentication scram needs a secret_key_arn",
        ),
        (
            ("msk:\n", f"msk:\n  authentication: scram\n  secret_arn: {SECRET[:-18]}x\n"),
            "7: msk.secret_arn: MSK takes only secrets whose name begins with AmazonMSK_",
        ),
        (
            ("topics:", "alarms: {notify: ['arn:aws:sns:us-east-1:123456789012:t']}\ntopics:"),
            "7: alarms.notify.0: arn:aws:sns:us-east-1:123456789012:t is in us-east-1, and",
        ),
        (
            ("topics:", f"alarms: {{notify: {[TOLD] * 6}}}\ntopics:"),
            "7: alarms.notify: List should",
        ),
        (("topics:", f"alarms: {{guide: {'x' * 501}}}\ntopics:"), "7: alarms.guide: String should"),
        (("topics:", "tags: {'': x}\ntopics:"), "7: tags.: '' is not valid. Expected ^[A-Za-z0-9"),
        (
            ("topics:", "tags: {a: '<'}\ntopics:"),
            "7: tags.a: '<' is not valid. Expected ^[A-Za-z0-9",
        ),
        (("topics:", "tags: {'aws:a': x}\ntopics:"), "7: tags.aws:a: tags that begin with aws:"),
        (
            ("msk:\n", f"msk:\n  authentication: scram\n  secret_arn: {SECRET[:-6]}*\n"),
            "7: msk.secret_arn: 'arn:aws:secretsmanager:",
        ),
        (
            ("topics:", "kms_key_arn: arn:aws:kms:us-east-1:123456789012:key/x\ntopics:"),
            "7: kms_key_arn: arn:aws:kms:us-east-1:123456789012:key/x is in us-east-1",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_line(
    change: tuple[str, str], expected: str, tmp_path: Path
) -> None:
    found = problems(tmp_path, PLAIN.replace(*change, 1))
    assert any(problem.startswith(expected) for problem in found), found


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ("consumption_mode: queue", "consumption_mode: queue gives up the order"),
        ("bisect: true", "bisect: bisect must stay off"),
        ("pollers: {minimum: 5, maximum: 2}", "pollers: minimum 5 is more than maximum 2"),
        (
            "pollers: on_demand, partial_batch_response: true",
            "partial_batch_response: AWS ignores partial batch responses without provisioned",
        ),
        (
            "pollers: on_demand, retry_attempts: 5",
            "retry_attempts: retry_attempts needs provisioned",
        ),
        ("pollers: on_demand, record_age_s: 3600", "record_age_s: record_age_s needs provisioned"),
        ("on_failure: false, retry_attempts: 5", "on_failure: retry_attempts and record_age_s end"),
        (
            "on_failure: false, record_age_s: 3600",
            "on_failure: retry_attempts and record_age_s end",
        ),
        ("retry_attempts: -1", "retry_attempts: AWS caps endless retries at 10"),
        ("record_age_s: 59", "record_age_s: expected -1, or at least 60"),
        ("starting_position: at_timestamp", "starting_position: at_timestamp and starting_time"),
        ("starting_timestamp: 1", "starting_timestamp: at_timestamp and starting_timestamp"),
        ("batch_size: 10001", "batch_size: it should be less than or equal to 10000, got 10001"),
        ("window_s: 301", "window_s: it should be less than or equal to 300, got 301"),
        ("pollers: {minimum: 201}", "pollers.minimum: it should be less than or equal to 200"),
        ("pollers: ", "pollers: expected on_demand, or minimum and maximum, got None"),
        ("pollers: on-demand", "pollers: expected on_demand, or minimum and maximum, got 'on-"),
        ("pollers: {minimum: 0}", "pollers.minimum: it should be greater than or equal to 1"),
        ("pollers: {grup: x}", "pollers.grup: unknown key 'grup'. Did you mean 'group'?"),
        ("pollers: {group: a.b}", "pollers.group: 'a.b' is not valid. Expected ^[A-Za-z0-9_-]"),
        (
            "starting_position: at_timestamp, starting_timestamp: 1795000000000",
            "starting_timestamp: it should be less than 10000000000",
        ),
        ("filters: ['{']", "filters.0: '{' is not a filter over `value`"),
        ("filters: ['{\"key\": [1]}']", "filters.0: "),
        ("schema_registry: glue", "schema_registry: 'glue' is not one of off"),
    ],
)
def test_mapping_that_would_lose_records_or_that_aws_refuses_is_refused(
    mapping: str, expected: str, tmp_path: Path
) -> None:
    of_all = problems(tmp_path, f"{PLAIN}mapping: {{{mapping}}}\n")
    assert any(problem.startswith(f"8: mapping.{expected}") for problem in of_all), of_all
    own = problems(
        tmp_path, PLAIN.replace("[orders]", f"[{{topic: orders, mapping: {{{mapping}}}}}]")
    )
    assert any(p.startswith(f"7: topics.0.mapping.{expected}") for p in own), own


def test_pollers_of_a_group_are_counted_together(tmp_path: Path) -> None:
    text = PLAIN.replace("[orders]", "[orders, clicks, sensors]")
    most = "mapping: {{pollers: {{group: small, maximum: {}}}}}\n"
    assert problems(tmp_path, text + most.format(666)) == []
    (problem,) = problems(tmp_path, text + most.format(667))
    assert problem.startswith("8: mapping.pollers: the pollers of 'small' are 2001 at most, and a")


def test_problem_of_all_topics_is_reported_once(tmp_path: Path) -> None:
    text = PLAIN.replace("[orders]", "[orders, clicks, sensors]") + "mapping: {bisect: true}\n"
    assert len(problems(tmp_path, text)) == 1


def test_source_is_one_and_knows_its_secrets(tmp_path: Path) -> None:
    both = PLAIN + "self_managed: {bootstrap_servers: ['k:9092'], authentication: none}\n"
    assert problems(tmp_path, both)[0].startswith("1: expected either msk or self_managed")
    assert problems(tmp_path, OWN) == []
    needs = OWN.replace("authentication: none", "authentication: plain")
    assert problems(tmp_path, needs) == ["5: self_managed: authentication plain needs a secret_arn"]
    public = OWN.replace(f"  vpc: {VPC}\n", "")
    assert "authentication none is for a private network" in problems(tmp_path, public)[0]
    none = OWN.replace("authentication: none", f"authentication: none\n  secret_arn: {SECRET}")
    assert "authentication none uses no secret" in problems(tmp_path, none)[0]


def test_two_topics_of_one_function_name_or_one_group_are_refused(tmp_path: Path) -> None:
    for topic in ("a.b", "a-b"):
        write_contract(tmp_path / "schemas", topic, f"plant/{topic}")
    text = PLAIN.replace(f"{ROOT}/schemas", "schemas")
    found = problems(tmp_path, text.replace("[orders]", "[a.b, a-b]"))
    assert found == ["7: topics.1: 'a-b' and 'a.b' would both become the function silt-a-b"]
    group = "mapping: {consumer_group: mine}"
    found = problems(
        tmp_path, text.replace("[orders]", f"[{{topic: a.b, {group}}}, {{topic: a-b, {group}}}]")
    )
    assert any("the consumer group 'mine' is also that of 'a.b'" in problem for problem in found)


@pytest.mark.parametrize("table", ["sales/*", "sales/${AWS::AccountId}", "s3://other/*/x"])
def test_table_that_would_widen_its_role_is_refused(table: str, tmp_path: Path) -> None:
    text = of_one_contract(tmp_path, "sensors", f"'{table}'")
    (problem,) = problems(tmp_path, text)
    assert "IAM reads as a wildcard" in problem


def test_table_in_a_directory_bucket_is_refused(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, PLAIN.replace("s3://my-lake/", "s3://my--use1-az4--x-s3/"))
    assert "topics.0: its table s3://my--use1-az4--x-s3/tables/sales/orders is in a di" in problem


@pytest.mark.parametrize("root", ["s3://my-lake/a%20b", "s3://my-lake/../x", "s3://my-lake//x"])
def test_root_that_is_elsewhere_for_the_store_is_refused(root: str, tmp_path: Path) -> None:
    """The role would be given another place than the one that the function writes to."""
    (problem,) = problems(tmp_path, PLAIN.replace("s3://my-lake/tables", root))
    assert f"its table {root}/sales/orders has " in problem


@pytest.mark.parametrize("table", ["s3://failed/x", "sales/orders"])
def test_bucket_of_a_table_cannot_be_that_of_failed_batches(table: str, tmp_path: Path) -> None:
    text = of_one_contract(tmp_path, "sensors", table)
    bucket = "failed" if "failed" in table else "my-lake"
    (problem,) = problems(tmp_path, text + f"on_failure: {{bucket: {bucket}}}\n")
    assert f"{table} cannot be the one of failed batches" in problem


def test_topic_cannot_take_the_name_of_maintenance(tmp_path: Path) -> None:
    text = of_one_contract(tmp_path, "-maintenance", "plant/sensors")
    assert "the function silt--maintenance, which maintains" in problems(tmp_path, text)[0]


def test_on_demand_keeps_no_failed_batches_unless_asked_to(tmp_path: Path) -> None:
    file = tmp_path / "deploy.yml"
    file.write_text(PLAIN + "mapping: {pollers: on_demand}\n")
    (topic,) = read_deployment(file).topics
    assert not topic.on_failure
    file.write_text(PLAIN + "mapping: {pollers: on_demand, on_failure: true}\n")
    (topic,) = read_deployment(file).topics
    assert topic.on_failure


def test_table_that_is_not_on_s3_is_refused(tmp_path: Path) -> None:
    text = of_one_contract(tmp_path, "sensors", "/srv/sensors")
    assert "its table /srv/sensors is not on S3" in problems(tmp_path, text)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1: the file is empty"),
        ("- a\n", "1: expected a mapping"),
        ("a:\n\tb\n", "2: this is not valid YAML"),
        ("name: 'a\udcff'\n", "1: this is not valid UTF-8"),
        (
            PLAIN.replace(f"{ROOT}/schemas", "5"),
            '3: contracts: expected a string, but YAML reads 5 as an integer. Write "5"',
        ),
        (PLAIN + "function: &a {vpc: *a}\n", "8: function.vpc: it contains itself, by an alias"),
    ],
)
def test_check_speaks_of_what_was_given_alone(
    text: str, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder of contracts that nobody named is not missed."""
    file = tmp_path / "deploy.yml"
    file.write_bytes(text.encode(errors="surrogateescape"))
    assert main(["check", "--deployment", str(file)]) == 1
    answer = capsys.readouterr()
    assert f"{file}:{expected}" in answer.err
    assert "there is no contract here" not in answer.err


def test_folder_that_cannot_be_read_is_a_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "deploy.yml"
    file.write_text(PLAIN.replace(f"{ROOT}/schemas", "x" * 300))
    for command in ("check", "template"):
        given = ["--deployment", str(file)] if command == "check" else [str(file)]
        assert main([command, *given]) in (1, 2)
        assert "the folder cannot be read: File name too long" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "- a\n", "a: [", "name: 5\n", "\udcff"])
def test_file_that_is_no_deployment_is_refused_with_a_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "deploy.yml"
    file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DeploymentError) as raised:
        read_deployment(file)
    assert all(problem.startswith(f"{file}") for problem in raised.value.problems)


def test_check_names_the_problems_of_the_deployment_and_package_refuses_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deploy.yml").write_text(PLAIN)
    assert main(["check", str(ROOT / "schemas")]) == 0
    assert "3 contracts and deploy.yml, no problems." in capsys.readouterr().out
    (tmp_path / "deploy.yml").write_text(PLAIN + "mapping: {bisect: true}\n")
    assert main(["check", str(ROOT / "schemas"), "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["problems"][0].startswith("deploy.yml:8: mapping.bisect: bisect must stay off")
    for command in (["package"], ["template"]):
        assert main(command) == 1
        assert "bisect must stay off" in capsys.readouterr().err
    assert not (tmp_path / "dist").exists()
    for command in (["template", "nowhere.yml"], ["check", "--deployment", "nowhere.yml"]):
        assert main([*command]) == 2
        assert "nowhere.yml cannot be read: No such file" in capsys.readouterr().err


def test_check_of_a_deployment_elsewhere_takes_its_contracts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "own/orders.yaml").write_text((ROOT / "schemas/orders.yaml").read_text())
    (tmp_path / "deploy.yml").write_text(PLAIN.replace(f"{ROOT}/schemas", "own"))
    monkeypatch.chdir(tmp_path / "here")
    assert main(["check", "--deployment", "../deploy.yml"]) == 0
    assert "1 contract and ../deploy.yml, no problems." in capsys.readouterr().out


def test_examples_and_the_deployment_of_the_checkout_fit_the_shipped_schema() -> None:
    schema = json.loads((ROOT / "schemas/deployment.schema.json").read_text())
    for file in [ROOT / "deploy.yml", *(ROOT / "docs/deployments").glob("*.yml")]:
        jsonschema.validate(yaml.safe_load(file.read_text()), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(PLAIN + "regoin: x\n"), schema)


def test_names_stay_within_the_limits_of_aws_and_apart() -> None:
    long, longer = "t" * 249, "t" * 248 + "u"
    names = {function_name("silt", topic) for topic in (long, longer, "orders")}
    assert len(names) == 3
    assert max(map(len, names)) <= FUNCTION_NAME_MAX
    assert len(consumer_group("silt", long)) <= 200
    assert function_key("my.big-topic_2") == "TopicMyBigTopic2"
    assert function_key(long) != function_key(longer)
    assert len(function_key(long)) <= 200
    assert function_key(long).isalnum()


def test_function_of_a_topic_may_write_all_its_tables_and_no_other(tmp_path: Path) -> None:
    for table in ("a/orders", "a/refunds"):
        text = f"topic: events\ntable: {table}\ncolumns: {{id: {{type: long}}}}\n"
        text += f"where: {{type: {{equals: {table}}}}}\n"
        (tmp_path / "schemas").mkdir(exist_ok=True)
        (tmp_path / "schemas" / f"{table[2:]}.yaml").write_text(text)
    deployment_text = of_one_contract(tmp_path, "other", "b/other")
    file = tmp_path / "deploy.yml"
    file.write_text(deployment_text.replace("['other']", "[events, other]"))
    deployment = read_deployment(file)
    events, other, maintenance = functions_of(deployment)
    assert events.description == "Silt: topic events into tables a/orders, a/refunds"
    tables = ("a/orders", "a/orders__dead_letters", "a/refunds", "a/refunds__dead_letters")
    for name in tables:
        place = f"my-lake/tables/{name}"
        assert place in str(events.statements), name
        assert place in str(maintenance.statements), name
        assert place not in str(other.statements), name
    assert "b/other" not in str(events.statements)
    assert set(tables) <= set(json.dumps(dashboard(deployment)).replace('"', "\\").split("\\"))
