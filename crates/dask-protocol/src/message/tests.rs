//! Messages come back as they were said, and what is wrong with others is named.

use proptest::prelude::*;
use rmpv::Value;

use super::*;
use crate::document::{Document, map};
use crate::frames::Frames;
use crate::key::Key;
use crate::{Malformed, Pickled, Serialized};

fn key() -> impl Strategy<Value = Key> {
    prop_oneof![
        "[a-z]{1,4}-[0-9]{1,3}".prop_map(Key::from),
        (any::<i64>(), "[a-z]{0,3}").prop_map(|(number, text)| {
            Key::of(&Value::Array(vec![text.into(), number.into()]))
        }),
    ]
}

fn keys() -> impl Strategy<Value = Vec<Key>> {
    prop::collection::vec(key(), 0..4)
}

fn text() -> impl Strategy<Value = String> {
    "[a-zé]{0,6}"
}

fn places() -> impl Strategy<Value = Places> {
    prop::collection::vec((key(), prop::collection::vec(text(), 0..3)), 0..3)
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..9)
}

fn object() -> impl Strategy<Value = Serialized> {
    bytes().prop_map(Serialized::from_bytes)
}

fn amounts() -> impl Strategy<Value = Vec<(String, f64)>> {
    prop::collection::vec((text(), -9.0..9.0), 0..3)
}

fn said() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::vec((text(), text()), 0..3)
}

fn to_client() -> impl Strategy<Value = SchedulerToClient> {
    use SchedulerToClient as Say;
    let erred = (key(), prop::option::of(object()), prop::option::of(object()));
    prop_oneof![
        key().prop_map(|key| Say::KeyInMemory { key }),
        erred.prop_map(|(key, exception, traceback)| Say::TaskErred { key, exception, traceback }),
        (keys(), prop::option::of(text()))
            .prop_map(|(keys, reason)| Say::CancelledKeys { keys, reason }),
        key().prop_map(|key| Say::LostData { key }),
        key().prop_map(|key| Say::TaskRetried { key }),
        (key(), said()).prop_map(|(topic, said)| Say::Event { topic, said }),
        (-9.0..9.0).prop_map(|seconds| Say::AdjustHeartbeatInterval { seconds }),
        prop::sample::select(vec![Say::StreamStart, Say::Restart, Say::Close, Say::StreamClosed]),
        "new-[a-z]{1,5}".prop_map(Say::Unknown),
    ]
}

fn of_client() -> impl Strategy<Value = ClientToScheduler> {
    use ClientToScheduler as Say;
    let priorities = prop::collection::vec((key(), any::<i64>()), 0..3);
    let graph = (bytes(), keys(), priorities, amounts(), prop::collection::vec(text(), 0..3));
    let graph = graph.prop_map(|(expression, keys, priorities, resources, workers)| UpdateGraph {
        expression,
        keys,
        priorities,
        resources,
        workers,
    });
    prop_oneof![
        graph.prop_map(Say::UpdateGraph),
        (keys(), text()).prop_map(|(keys, client)| Say::ReleaseKeys { keys, client }),
        (text(), text()).prop_map(|(topic, client)| Say::SubscribeTopic { topic, client }),
        prop::sample::select(vec![Say::Heartbeat, Say::CloseClient, Say::CloseStream]),
        "new-[a-z]{1,5}".prop_map(Say::Unknown),
    ]
}

fn to_worker() -> impl Strategy<Value = SchedulerToWorker> {
    use SchedulerToWorker as Say;
    let spec = (bytes(), prop::collection::vec(bytes(), 0..3));
    let spec = spec.prop_map(|(pickle, buffers)| Pickled { pickle, buffers });
    let priority = prop::collection::vec(-9.0..9.0, 0..3);
    let task = (key(), any::<i64>(), priority, places(), prop::option::of(spec), amounts());
    let task = task.prop_map(|(key, run_id, priority, who_has, run_spec, resources)| ComputeTask {
        key,
        run_id,
        priority,
        who_has,
        run_spec,
        resources,
    });
    prop_oneof![
        task.prop_map(Say::ComputeTask),
        keys().prop_map(|keys| Say::FreeKeys { keys }),
        key().prop_map(|key| Say::CancelCompute { key }),
        (keys(), text()).prop_map(|(keys, stimulus_id)| Say::RemoveReplicas { keys, stimulus_id }),
        places().prop_map(|who_has| Say::AcquireReplicas { who_has }),
        (key(), text()).prop_map(|(key, stimulus_id)| Say::StealRequest { key, stimulus_id }),
        text().prop_map(|status| Say::StatusChange { status }),
        text().prop_map(|worker| Say::RemoveWorker { worker }),
        places().prop_map(|who_has| Say::RefreshWhoHas { who_has }),
        prop::option::of(text()).prop_map(|reason| Say::Close { reason }),
        Just(Say::CloseStream),
        "new-[a-z]{1,5}".prop_map(Say::Unknown),
    ]
}

fn of_worker() -> impl Strategy<Value = WorkerToScheduler> {
    use WorkerToScheduler as Say;
    let run = (any::<u64>(), -9.0..9.0, -9.0..9.0);
    let run = run.prop_map(|(thread, start, stop)| Run { thread, start, stop });
    let name = prop::option::of(prop::sample::select(vec!["bytes", "int", "NoneType"]));
    let finished = (key(), any::<i64>(), any::<u64>(), name, run.clone(), text());
    let erred = (key(), any::<i64>(), bytes(), text(), run, text());
    prop_oneof![
        finished.prop_map(|(key, run_id, nbytes, name, run, stimulus_id)| Say::TaskFinished {
            key,
            run_id,
            nbytes,
            type_name: name.map(str::to_owned),
            run,
            stimulus_id,
        }),
        erred.prop_map(|(key, run_id, exception, text, run, stimulus_id)| Say::TaskErred {
            key,
            run_id,
            exception,
            text,
            run,
            stimulus_id,
        }),
        (key(), text()).prop_map(|(key, stimulus_id)| Say::Reschedule { key, stimulus_id }),
        (text(), text())
            .prop_map(|(status, stimulus_id)| Say::StatusChange { status, stimulus_id }),
        (keys(), text()).prop_map(|(keys, stimulus_id)| Say::AddKeys { keys, stimulus_id }),
        (key(), prop::option::of(text()), text())
            .prop_map(|(key, state, stimulus_id)| Say::StealResponse { key, state, stimulus_id }),
        (text(), said()).prop_map(|(topic, said)| Say::LogEvent { topic, said }),
        Just(Say::CloseStream),
        "new-[a-z]{1,5}".prop_map(Say::Unknown),
    ]
}

proptest! {
    #[test]
    fn what_is_said_over_a_stream_comes_back(
        to_client in prop::collection::vec(to_client(), 0..4),
        of_client in prop::collection::vec(of_client(), 0..4),
        to_worker in prop::collection::vec(to_worker(), 0..4),
        of_worker in prop::collection::vec(of_worker(), 0..4),
    ) {
        let frames = SchedulerToClient::encode(to_client.clone());
        prop_assert_eq!(SchedulerToClient::parse(frames), Ok(to_client));
        let frames = ClientToScheduler::encode(of_client.clone());
        prop_assert_eq!(ClientToScheduler::parse(frames), Ok(of_client));
        let frames = SchedulerToWorker::encode(to_worker.clone());
        prop_assert_eq!(SchedulerToWorker::parse(frames), Ok(to_worker));
        let frames = WorkerToScheduler::encode(of_worker.clone());
        prop_assert_eq!(WorkerToScheduler::parse(frames), Ok(of_worker));
    }

    #[test]
    fn what_is_asked_and_answered_comes_back(
        keys in keys(), places in places(), data in prop::collection::vec((key(), object()), 0..3),
        sizes in prop::collection::vec((key(), any::<u64>()), 0..3),
    ) {
        let asked = |frames| Request::parse(frames).map(|request| request.subject);
        let question = GetData { keys: keys.clone(), who: None };
        prop_assert_eq!(asked(question.encode()), Ok(Subject::GetData { keys: keys.clone() }));
        let question = UpdateData { data: data.clone() };
        prop_assert_eq!(asked(question.encode()), Ok(Subject::UpdateData { data: data.clone() }));
        let question = GatherCopies { who_has: places.clone() };
        let subject = Subject::GatherCopies { who_has: places.clone() };
        prop_assert_eq!(asked(question.encode()), Ok(subject));
        let question = Gather { keys: keys.clone() };
        prop_assert_eq!(asked(question.encode()), Ok(Subject::Gather { keys: keys.clone() }));
        let question = WhoHas { keys: keys.clone() };
        prop_assert_eq!(asked(question.encode()), Ok(Subject::WhoHas { keys: keys.clone() }));

        prop_assert_eq!(Gather::answer(Reply::Data(data.clone()).encode()), Ok(Data::Here(data)));
        prop_assert_eq!(WhoHas::answer(Reply::Places(places.clone()).encode()), Ok(places));
        prop_assert_eq!(UpdateData::answer(Reply::Sizes(sizes.clone()).encode()), Ok(sizes));
        let answer = if keys.is_empty() { Reply::Status } else { Reply::Missing(keys.clone()) };
        prop_assert_eq!(GatherCopies::answer(answer.encode()), Ok(keys));
    }

    #[test]
    fn what_is_asked_of_running_tasks_comes_back(
        (stream, received, taken) in (text(), any::<u64>(), any::<u64>()),
        (wait_ms, ended) in (prop::option::of(any::<u64>()), any::<bool>()),
        items in object(), keys in keys(),
        progress in prop::collection::vec((key(), any::<u64>(), any::<u64>(), text()), 0..3),
    ) {
        let asked = |frames| Request::parse(frames).map(|request| request.subject);
        let question = TakeItems { stream, received, taken, wait_ms };
        prop_assert_eq!(asked(question.clone().encode()), Ok(Subject::TakeItems(question.clone())));
        let worker = "tcp://a:1".to_owned();
        let proxy = Proxy { worker: worker.clone(), question: question.clone() };
        let message = question.clone().encode();
        prop_assert_eq!(asked(proxy.encode()), Ok(Subject::Proxy { worker, message }));
        let here = Items::Here { items, ended };
        prop_assert_eq!(TakeItems::answer(Reply::Items(here.clone()).encode()), Ok(here.clone()));
        let around = Proxy::<TakeItems>::answer(Reply::Items(here.clone()).encode());
        prop_assert_eq!(around, Ok(here));
        let unknown = TakeItems::answer(Reply::Items(Items::Unknown).encode());
        prop_assert_eq!(unknown, Ok(Items::Unknown));

        let question = AskProgress { keys };
        let subject = Subject::AskProgress(question.clone());
        prop_assert_eq!(asked(question.encode()), Ok(subject));
        let one = |(key, done, total, text)| (key, TaskProgress { done, total, text });
        let said: Vec<_> = progress.into_iter().map(one).collect();
        prop_assert_eq!(AskProgress::answer(Reply::Progress(said.clone()).encode()), Ok(said));
    }

    #[test]
    fn nonsense_is_refused_and_never_panics(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..6),
        of_client in of_client(), to_worker in to_worker(), at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut graph = ClientToScheduler::encode([of_client]);
        let mut task = SchedulerToWorker::encode([to_worker]);
        for frames in [&mut graph, &mut task] {
            let at = at.index(frames[0].len());
            frames[0][at] = byte;
        }
        for frames in [frames, graph, task] {
            let _ = SchedulerToClient::parse(frames.clone());
            let _ = ClientToScheduler::parse(frames.clone());
            let _ = SchedulerToWorker::parse(frames.clone());
            let _ = WorkerToScheduler::parse(frames.clone());
            let _ = Request::parse(frames.clone());
            let _ = Handshake::parse(frames.clone());
            let _ = Identity::answer(frames.clone());
            let _ = TakeItems::answer(frames.clone());
            let _ = AskProgress::answer(frames.clone());
            let _ = RunOnWorkers::answer(frames);
        }
    }
}

fn message(value: Value) -> Frames {
    Document::new(value).into_frames()
}

#[test]
fn what_is_wrong_is_named() {
    let said = |value| SchedulerToWorker::parse(message(value)).unwrap_err();
    let task = |field: (&str, Value)| map([("op", "compute-task".into()), field]);
    let error = said(task(("run_id", 3.into())));
    assert_eq!(error.to_string(), "malformed `compute-task`: `key` is missing");
    let error = said(map([("op", "free-keys".into()), ("keys", 3.into())]));
    assert_eq!(error.to_string(), "malformed `free-keys`: `keys` is not a list");
    let missing = map([("__Pickled__", 9.into())]);
    let error =
        said(map([("op", "compute-task".into()), ("key", "a".into()), ("run_spec", missing)]));
    assert_eq!((error.operation(), error.field()), (Some("compute-task"), Some("run_spec")));
    assert!(error.problem().contains("frames are missing"), "{error}");
    assert_eq!(said(3.into()).to_string(), "it is no map");
    assert_eq!(said(map([])).to_string(), "an operation without a name");
}

#[test]
fn what_is_not_known_is_ignored() {
    let value = map([("op", "key-in-memory".into()), ("key", "a".into()), ("new", 7.into())]);
    let here = SchedulerToClient::KeyInMemory { key: "a".into() };
    assert_eq!(SchedulerToClient::parse(message(value)), Ok(vec![here]));
    let value = map([("op", "sing".into()), ("song", 7.into())]);
    let unknown = SchedulerToClient::Unknown("sing".into());
    assert_eq!(SchedulerToClient::parse(message(value)), Ok(vec![unknown]));
}

/// Real clients and workers write some lists as sets.
#[test]
fn a_set_is_read_as_a_list() {
    let keys = Value::Array(vec!["a".into(), "b".into()]);
    let set = map([("__Set__", true.into()), ("as-list", keys)]);
    let asked = Request::parse(message(map([("op", "get_data".into()), ("keys", set)])));
    let keys = vec!["a".into(), "b".into()];
    assert_eq!(asked.map(|request| request.subject), Ok(Subject::GetData { keys }));
}

#[test]
fn an_exception_may_stand_in_the_message_itself() {
    let exception = Value::Binary(b"\x80\x04N.".to_vec());
    let fields = [("op", "task-erred".into()), ("key", "a".into()), ("exception", exception)];
    let said = SchedulerToClient::parse(message(map(fields))).unwrap();
    let [SchedulerToClient::TaskErred { exception: Some(exception), .. }] = &said[..] else {
        panic!("{said:?}")
    };
    assert_eq!(exception.clone().into_bytes(), Ok(b"\x80\x04N.".to_vec()));
}

#[test]
fn a_peer_that_fails_says_why() {
    let failed = Failed { uncaught: true, exception: b"".to_vec(), text: "oops".into() };
    let error = Versions::answer(Reply::Failed(failed).encode()).unwrap_err();
    assert_eq!(error, NoAnswer::Failed("oops".into()));
    let error = GetData::answer(Reply::Nil.encode()).unwrap_err();
    assert!(error.to_string().contains("does not know it"), "{error}");
    let error = Identity::answer(Reply::NoMap.encode()).unwrap_err();
    assert!(matches!(error, NoAnswer::Malformed(error) if error.field() == Some("workers")));
    let busy: Result<Data, NoAnswer> = GetData::answer(Reply::Busy.encode());
    assert_eq!(busy, Ok(Data::Busy));
    let none: Result<(), Malformed> = Request::parse(message(Value::Nil)).map(drop);
    assert!(none.is_err());
}

#[test]
fn what_workers_ran_has_a_result_or_an_exception() {
    let mut document = Document::new(Value::Nil);
    let result = document.attach(Serialized::from_bytes(b"fine".to_vec()));
    document.value = map([
        ("tcp://a:1", map([("status", "OK".into()), ("result", result)])),
        ("tcp://b:1", map([("status", "error".into()), ("exception_text", "oops".into())])),
    ]);
    let ran = RunOnWorkers::answer(document.into_frames()).unwrap();
    let fine = Ran::Result(Serialized::from_bytes(b"fine".to_vec()));
    let oops = Ran::Raised("oops".into());
    assert_eq!(ran, [("tcp://a:1".to_owned(), fine), ("tcp://b:1".to_owned(), oops)]);
}

#[test]
fn a_registration_is_answered_with_an_interval() {
    let answer = map([("status", "OK".into()), ("heartbeat-interval", 0.25.into())]);
    let member = Registered::Member { heartbeat_s: 0.25 };
    assert_eq!(RegisterWorker::answer(message(answer.clone())), Ok(member));
    let known = Heartbeat::Known { heartbeat_s: 0.25 };
    assert_eq!(HeartbeatWorker::answer(message(answer)), Ok(known));
    let refused = map([("status", "error".into()), ("message", "name taken, x".into())]);
    let answer = Registered::Refused("name taken, x".into());
    assert_eq!(RegisterWorker::answer(message(refused)), Ok(answer));
    let missing = map([("status", "missing".into())]);
    assert_eq!(HeartbeatWorker::answer(message(missing)), Ok(Heartbeat::Missing));
    let packages = Packages::of_release("2026.8.0");
    let hello = RegisterClient { client: "c".into(), packages }.encode();
    let subject = Subject::RegisterClient { client: "c".into() };
    assert_eq!(Request::parse(hello), Ok(Request { subject, reply: false, close: false }));
    let start = SchedulerToClient::encode([SchedulerToClient::StreamStart]);
    assert_eq!(RegisterClient::answer(start), Ok(()));
    assert!(RegisterClient::answer(Reply::Nil.encode()).is_err());
}

/// A question with these fields.
fn asked(operation: &str, fields: Vec<(Value, Value)>) -> Subject {
    let mut all = vec![("op".into(), operation.into())];
    all.extend(fields);
    Request::parse(Document::new(Value::Map(all)).into_frames()).unwrap().subject
}

#[test]
fn what_dasks_tools_ask_a_worker_is_known_by_its_name() {
    // All that `distributed.worker.Worker` and its `Server` answer, but `connection_stream`.
    for name in [
        "identity",
        "echo",
        "dump_state",
        "gather",
        "run",
        "run_coroutine",
        "get_data",
        "update_data",
        "free_keys",
        "terminate",
        "ping",
        "upload_file",
        "call_stack",
        "profile",
        "profile_metadata",
        "get_logs",
        "keys",
        "versions",
        "actor_execute",
        "actor_attribute",
        "plugin-add",
        "plugin-remove",
        "get_monitor_info",
        "benchmark_disk",
        "benchmark_memory",
        "benchmark_network",
        "get_story",
    ] {
        let subject = asked(name, Vec::new());
        assert!(!matches!(subject, Subject::Unknown(_)), "{name}: {subject:?}");
    }
    let keys = Value::Array(vec!["a".into()]);
    let stack = asked("call_stack", vec![("keys".into(), keys)]);
    assert_eq!(stack, Subject::CallStack { keys: Some(vec!["a".into()]) });
    assert_eq!(asked("call_stack", Vec::new()), Subject::CallStack { keys: None });
    let data = Value::Binary(vec![0; 5]);
    let upload = asked("upload_file", vec![("data".into(), data)]);
    assert_eq!(upload, Subject::UploadFile { bytes: 5 });
    let until = asked("profile_metadata", vec![("stop".into(), 1.5.into())]);
    assert_eq!(until, Subject::ProfileTimes { recent: false });
}

#[test]
fn an_echo_has_what_lay_beside_the_question() {
    let mut document = Document::new(Value::Nil);
    let data = document.attach(Serialized::from_bytes(b"abc".to_vec()));
    document.value = map([("op", "echo".into()), ("data", data)]);
    let Subject::Echo(data) = Request::parse(document.into_frames()).unwrap().subject else {
        panic!("it is an echo");
    };
    let mut document = Document::from_frames(Reply::Echo(data).encode()).unwrap();
    let value = document.take_value();
    let echoed = document.object(&value).unwrap().unwrap();
    assert_eq!(echoed.into_bytes().unwrap(), b"abc");
}
