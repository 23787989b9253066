"""Calls each method of io.fdbsteer by the client library of PyPI's varlink, as the documents of that library show.

varlink_verbs.py SOCKET: expects a bridge br0 with the ports vfrep0, tap0 and uplink0. Prints the methods, one a line.
"""
import sys

import varlink

MAC = "52:54:00:00:00:01"
called = []


def expect(truth, what):
    if not truth:
        sys.exit(f"{called[-1:]}: {what}")


def main():
    client = varlink.Client.new_with_address("unix:" + sys.argv[1])
    info = client.get_interface("org.varlink.service")
    expect(info is not None, "no org.varlink.service")
    names = [name for name in client.get_interface("io.fdbsteer").members
             if type(client.get_interface("io.fdbsteer").members[name]).__name__ == "_Method"]
    with client.open("io.fdbsteer") as fdbsteer, client.open("io.fdbsteer") as second:
        def call(method, connection=fdbsteer, **parameters):
            called.append(method)
            return getattr(connection, method)(**parameters)

        report = call("Preflight", bridge="br0", primary="vfrep0", standby="tap0", addresses=[MAC], at="primary",
                      waive=["mtu-smaller"])
        expect(report["answer"]["bridge"] == "br0", report)
        answer = call("Prepare", guest="vm1", bridge="br0", primary="vfrep0", standby="tap0", uplink="uplink0",
                      addresses=[MAC], at="primary", leak="allow")["answer"]
        expect(answer["outcome"] == "done" and answer["to"] == "primary", answer)
        answer = call("Switch", guests=["vm1"], to="standby")["answer"]
        expect(answer["outcome"] == "done" and answer["to"] == "standby", answer)
        # The library sends the call when the first reply is asked for.
        event = next(call("Monitor", second, last=2, _more=True))["event"]
        expect(event["verb"] == "prepare" and event["by"] == "fdbsteerd prepare", event)
        answer = call("Verify")["answer"]
        expect(answer["guests"][0]["ok"] is True, answer)
        expect(call("Status", guests=["vm1"])["answer"]["guests"][0]["side"] == "standby", "status")
        expect(call("Topology", bridge="br0")["answer"]["bridges"][0]["name"] == "br0", "topology")
        expect(call("History", guest="vm1", limit=1)["answer"]["history"][0]["verb"] == "switch", "history")
        expect("fdbsteer_" in call("Metrics")["answer"]["page"], "metrics")
        expect(call("Announce", guest="vm1", count=1)["answer"]["rounds"] == 1, "announce")
        expect(call("Abort", guest="vm1")["answer"]["outcome"] == "already", "abort")
        expect(call("Reconcile")["answer"]["guests"][0]["ok"] is True, "reconcile")
        third = client.open("io.fdbsteer")
        summary = list(call("Watch", third, bridge="br0", duration="1ms", _more=True))[-1]["event"]
        expect(summary["event"] == "summary", summary)
        try:
            call("Switch", guests=["nobody"], to="standby")
            expect(False, "no error")
        except varlink.VarlinkError as error:
            expect(error.error() == "io.fdbsteer.Failed", error)
            expect(error.parameters()["code"] == "precondition" and error.parameters()["exit_code"] == 3, error)
        answer = call("Release", guests=["vm1"])["answer"]
        expect(answer["outcome"] == "done", answer)
    expect(set(called) == set(names), f"not called: {set(names) - set(called)}")
    print("\n".join(sorted(set(called))))


main()
