use super::*;
use crate::error::Kind as ErrorKind;
use crate::output::columns::samples;
use crate::output::ui::UiOptions;

fn instances() -> Group {
    let mut db = samples::instance("db");
    db.status = None;
    Group {
        kind: Kind::Instance,
        objects: vec![samples::instance("web").into(), db.into()],
    }
}

fn secrets() -> Group {
    Group {
        kind: Kind::Secret,
        objects: vec![samples::secret("db")],
    }
}

fn empty(kind: Kind) -> Group {
    Group {
        kind,
        objects: Vec::new(),
    }
}

fn request(format: &str) -> PrintRequest {
    let format = OutputFormat::parse(format).unwrap_or_else(|e| panic!("{e}"));
    PrintRequest::new(format, samples::ctx().now)
}

fn print(request: &PrintRequest, groups: Vec<Group>) -> (String, String) {
    let (ui, captured) = Ui::captured(UiOptions::default());
    print_objects(&ui, request, &groups).unwrap_or_else(|e| panic!("{e}"));
    (captured.out(), captured.err())
}

fn printed(format: &str, groups: Vec<Group>) -> String {
    let (out, err) = print(&request(format), groups);
    assert_eq!(err, "");
    out
}

#[test]
fn a_table_is_sorted_by_name() {
    insta::assert_snapshot!(printed("table", vec![instances()]), @r"
    NAME   STATUS      READY       ADDRESS           IMAGE       TYPE       AGE
    db     <unknown>   <unknown>   <none>            debian-12   t2.micro   120m
    web    Running     True        192.168.122.201   debian-12   t2.micro   120m
    ");
    insta::assert_snapshot!(printed("wide", vec![instances()]), @r"
    NAME   STATUS      READY       ADDRESS           IMAGE       TYPE       AGE    CPUS     MEMORY   DISK   ACCEL    NETWORK   UID
    db     <unknown>   <unknown>   <none>            debian-12   t2.micro   120m   <none>   <none>   8Gi    <none>   default   7f3a9c2e-0000-4000-8000-000000000001
    web    Running     True        192.168.122.201   debian-12   t2.micro   120m   1        1Gi      8Gi    tcg      default   7f3a9c2e-0000-4000-8000-000000000001
    ");
}

#[test]
fn several_kinds_are_groups_with_prefixed_names() {
    let groups = vec![secrets(), empty(Kind::Image), instances()];
    insta::assert_snapshot!(printed("table", groups), @r"
    NAME        DATA   AGE
    secret/db   2      60s

    NAME           STATUS      READY       ADDRESS           IMAGE       TYPE       AGE
    instance/db    <unknown>   <unknown>   <none>            debian-12   t2.micro   120m
    instance/web   Running     True        192.168.122.201   debian-12   t2.micro   120m
    ");
}

#[test]
fn no_headers_drops_exactly_the_first_line() {
    let whole = printed("table", vec![instances()]);
    let mut request = request("table");
    request.no_headers = true;
    let (out, _) = print(&request, vec![instances()]);
    let widths = |text: &str| {
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let rest = whole.split_once('\n').unwrap().1;
    assert_eq!(widths(&out), widths(rest));
    assert_eq!(out.lines().count(), 2);
}

#[test]
fn labels_get_columns() {
    let mut request = request("table");
    request.show_labels = true;
    request.label_columns = vec![
        LabelKey::new("app").unwrap(),
        LabelKey::new("a.io/owner").unwrap(),
    ];
    let (out, _) = print(&request, vec![instances()]);
    insta::assert_snapshot!(out, @r"
    NAME   STATUS      READY       ADDRESS           IMAGE       TYPE       AGE    APP    OWNER    LABELS
    db     <unknown>   <unknown>   <none>            debian-12   t2.micro   120m   shop   <none>   app=shop,tier=web
    web    Running     True        192.168.122.201   debian-12   t2.micro   120m   shop   <none>   app=shop,tier=web
    ");
}

#[test]
fn an_empty_table_is_said_on_standard_error() {
    let (out, err) = print(&request("table"), vec![empty(Kind::Instance)]);
    assert_eq!((out.as_str(), err.as_str()), ("", "No instances found.\n"));
    let mut noted = request("wide");
    noted.empty_note = Some("(3 unmanaged: kvmctl get instances --all)".into());
    let (_, err) = print(&noted, vec![empty(Kind::Instance)]);
    assert_eq!(
        err,
        "No instances found. (3 unmanaged: kvmctl get instances --all)\n"
    );
    let (_, err) = print(
        &request("table"),
        vec![empty(Kind::Instance), empty(Kind::Image)],
    );
    assert_eq!(err, "No resources found.\n");
}

#[test]
fn empty_lists_of_machines_are_data_and_silent() {
    let none = || vec![empty(Kind::Instance)];
    assert_eq!(
        printed("yaml", none()),
        "apiVersion: kvmctl/v1\nkind: List\nitems: []\n"
    );
    let json: Value = serde_json::from_str(&printed("json", none())).unwrap();
    assert_eq!(json["items"], serde_json::json!([]));
    assert_eq!(printed("name", none()), "");
    assert_eq!(printed("jsonpath={.items[*].metadata.name}", none()), "");
    assert_eq!(printed("custom-columns=N:.metadata.name", none()), "N\n");
}

#[test]
fn one_named_object_is_bare_and_a_list_of_one_is_a_list() {
    let one = || Group {
        kind: Kind::Instance,
        objects: vec![samples::instance("web").into()],
    };
    let list: Value = serde_json::from_str(&printed("json", vec![one()])).unwrap();
    assert_eq!(list["kind"], "List");
    assert_eq!(list["items"][0]["metadata"]["name"], "web");
    let mut single = request("json");
    single.single = true;
    let (out, _) = print(&single, vec![one()]);
    let bare: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(bare["kind"], "Instance");
    single.format = OutputFormat::parse("jsonpath={.metadata.name}{.spec.zz}").unwrap();
    assert_eq!(print(&single, vec![one()]).0, "web");
}

#[test]
fn yaml_reads_back_as_the_same_objects() {
    let yaml = printed("yaml", vec![instances()]);
    let value: Value = serde_yaml::from_str(&yaml).unwrap();
    let items: Vec<crate::api::Instance> = serde_json::from_value(value["items"].clone()).unwrap();
    let names: Vec<String> = items
        .iter()
        .map(|o| o.metadata.name.as_ref().unwrap().to_string())
        .collect();
    assert_eq!(names, ["db", "web"]);
    assert_eq!(items[1], samples::instance("web"));
    assert_eq!(
        yaml,
        printed("yaml", vec![instances()]),
        "two runs are byte-identical"
    );
}

#[test]
fn names_and_columns_of_choice() {
    assert_eq!(
        printed("name", vec![secrets(), instances()]),
        "secret/db\ninstance/db\ninstance/web\n"
    );
    let out = printed(
        "custom-columns=N:.metadata.name,X:.spec.zz",
        vec![instances()],
    );
    assert_eq!(out, "N     X\ndb    <none>\nweb   <none>\n");
}

#[test]
fn no_form_prints_a_secret() {
    for format in [
        "table",
        "wide",
        "json",
        "yaml",
        "name",
        "jsonpath={.items[*].data}{..PASSWORD}{.items[0]}",
        "custom-columns=D:.data,P:.data.PASSWORD,A:..PASSWORD",
    ] {
        let out = printed(format, vec![secrets()]);
        assert!(!out.contains(samples::PASSWORD), "{format}: {out}");
    }
    assert!(printed("yaml", vec![secrets()]).contains("PASSWORD: \"***\""));
}

#[test]
fn the_order_is_what_was_asked_for() {
    let mut request = request("name");
    request.order = Order::AsGiven;
    assert_eq!(
        print(&request, vec![instances()]).0,
        "instance/web\ninstance/db\n"
    );
    request.order = Order::By(SortKey::parse("status").unwrap());
    assert_eq!(
        print(&request, vec![instances()]).0,
        "instance/web\ninstance/db\n"
    );
    request.order = Order::By(SortKey::parse(".spec.zz").unwrap());
    let (ui, _) = Ui::captured(UiOptions::default());
    let error = print_objects(&ui, &request, &[instances()]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
}

#[test]
fn a_terminal_gets_a_coloured_status_and_the_same_layout() {
    let (ui, captured) = Ui::captured_terminal(UiOptions::default());
    print_objects(&ui, &request("table"), &[instances()]).unwrap();
    let coloured = captured.out();
    assert!(coloured.contains("\x1b[32mRunning\x1b[0m"), "{coloured:?}");
    let stripped = coloured.replace("\x1b[32m", "").replace("\x1b[0m", "");
    assert_eq!(stripped, printed("table", vec![instances()]));
}

#[test]
fn hostile_text_is_harmless_in_a_table() {
    let mut o = samples::instance("web");
    o.spec.image = Some("evil \x1b]0;x\x07\nfake row".into());
    let group = Group {
        kind: Kind::Instance,
        objects: vec![o.into()],
    };
    let out = printed("wide", vec![group]);
    assert!(!out.contains('\x1b'));
    let fields: Vec<usize> = out.lines().map(|l| l.split_whitespace().count()).collect();
    assert_eq!(fields, [13, 13], "{out}");
}
