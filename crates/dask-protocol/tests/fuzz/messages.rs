//! What was understood of a message is what it says when it is written again.

use dask_protocol::frames::Frames;
use dask_protocol::message::{
    AskProgress, ClientToScheduler, Data, Gather, GatherCopies, GetData, Handshake,
    HeartbeatWorker, Identity, Question, RegisterClient, RegisterWorker, Reply, Request,
    RetireWorkers, RunOnWorkers, SchedulerToClient, SchedulerToWorker, Subject, TakeItems,
    TaskStatus, UpdateData, Versions, WhoHas, WorkerToScheduler,
};
use dask_protocol::{Serialized, pickle, plain};

/// Frames of up to 64 KiB, each after its length in two bytes.
fn frames(mut data: &[u8]) -> Frames {
    let mut frames = Vec::new();
    while let Some((length, rest)) = data.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (frame, rest) = rest.split_at(length);
        frames.push(frame.to_vec());
        data = rest;
    }
    frames
}

pub(crate) fn check(data: &[u8]) {
    let frames = frames(data);
    macro_rules! stream {
        ($($name:ident),*) => {$(
            if let Ok(said) = $name::parse(frames.clone()) {
                let again = $name::encode(said);
                let twice = $name::parse(again.clone()).map($name::encode);
                assert_eq!(twice.as_ref(), Ok(&again), stringify!($name));
            }
        )*};
    }
    stream!(SchedulerToClient, ClientToScheduler, SchedulerToWorker, WorkerToScheduler);
    if let Ok(shaken) = Handshake::parse(frames.clone()) {
        assert_eq!(Handshake::parse(shaken.clone().encode()), Ok(shaken));
    }
    asked(frames.clone());
    answered(frames);
}

/// Of questions that have a type on both sides.
fn asked(frames: Frames) {
    let Ok(request) = Request::parse(frames) else { return };
    let again = match request.subject.clone() {
        Subject::GetData { keys } => GetData { keys, who: None }.encode(),
        Subject::GatherCopies { who_has } => GatherCopies { who_has }.encode(),
        Subject::Gather { keys } => Gather { keys }.encode(),
        Subject::WhoHas { keys } => WhoHas { keys }.encode(),
        Subject::UpdateData { data } => UpdateData { data }.encode(),
        Subject::TakeItems(question) => question.encode(),
        Subject::AskProgress(question) => question.encode(),
        _ => return,
    };
    assert_eq!(Request::parse(again).map(|again| again.subject), Ok(request.subject));
}

fn answered(frames: Frames) {
    if let Ok(Data::Here(data)) = Gather::answer(frames.clone()) {
        let again = Gather::answer(Reply::Data(data.clone()).encode());
        assert_eq!(again, Ok(Data::Here(data.clone())));
        let mut room = 1 << 16;
        for (_, value) in data {
            let _ = value.type_name();
            let plain = plain::from_value(&value, 1 << 16);
            assert!(plain.is_err() || pickle::Symbols::read(&plain.unwrap_or_default(), 0).is_ok());
            let before = room;
            if let Ok(bytes) = Serialized::into_bytes_within(value, &mut room) {
                assert!(room <= before && bytes.len() <= (1 << 16) + frames_length(&frames));
            }
        }
    }
    if let Ok(items) = TakeItems::answer(frames.clone()) {
        assert_eq!(TakeItems::answer(Reply::Items(items.clone()).encode()), Ok(items));
    }
    if let Ok(said) = AskProgress::answer(frames.clone()) {
        assert_eq!(AskProgress::answer(Reply::Progress(said.clone()).encode()), Ok(said));
    }
    if let Ok(places) = WhoHas::answer(frames.clone()) {
        assert_eq!(WhoHas::answer(Reply::Places(places.clone()).encode()), Ok(places));
    }
    if let Ok(sizes) = UpdateData::answer(frames.clone()) {
        assert_eq!(UpdateData::answer(Reply::Sizes(sizes.clone()).encode()), Ok(sizes));
    }
    if let Ok(packages) = Versions::answer(frames.clone()) {
        let _ = packages.supported();
        let again = Versions::answer(Reply::Versions(packages.clone()).encode());
        assert_eq!(
            again.map(|again| Reply::Versions(again).encode()),
            Ok(Reply::Versions(packages).encode())
        );
    }
    if let Ok(identity) = Identity::answer(frames.clone()) {
        let again = Reply::Cluster(identity).encode();
        assert_eq!(
            Identity::answer(again.clone()).map(|it| Reply::Cluster(it).encode()),
            Ok(again)
        );
    }
    let _ = RegisterClient::answer(frames.clone());
    let _ = RegisterWorker::answer(frames.clone());
    let _ = HeartbeatWorker::answer(frames.clone());
    let _ = RetireWorkers::answer(frames.clone());
    let _ = TaskStatus::answer(frames.clone());
    let _ = RunOnWorkers::answer(frames.clone());
    let _ = GatherCopies::answer(frames);
}

fn frames_length(frames: &Frames) -> usize {
    frames.iter().map(Vec::len).sum()
}
