import FDB
import Testing

@testable import Policy

/// When a guest is asked, and what is concluded.
@Suite struct InquiryCourseTests {
    private static let second: Int64 = 1_000_000_000
    private static let mac = MACAddress(value: 0x5254_0000_0001)

    /// Lets time pass up to `end`, waking when the course says so; returns the times of the questions.
    private func run(_ course: inout InquiryCourse, from start: Int64 = 0, to end: Int64) -> [Int64] {
        var asked: [Int64] = []
        var now = start
        while now <= end {
            if course.ask(now: now) != nil { asked.append(now) }
            guard let due = course.due else { break }
            now = max(due, now + 1)
        }
        return asked
    }

    @Test func waitingAsksOftenAtFirstAndThenOnceASecond() {
        var course = InquiryCourse(.waiting, firstNumber: 0, now: 0)
        let asked = run(&course, to: 60 * Self.second)
        #expect(asked.first == 0 && asked[1] == 10_000_000)
        #expect((90...120).contains(asked.count), "\(asked.count)")
        let gaps = zip(asked, asked.dropFirst()).map { $1 - $0 }
        #expect(gaps.allSatisfy { $0 >= 10_000_000 && $0 <= Self.second } && gaps.last == Self.second)
        #expect(course.result == nil)
    }

    @Test func anAnswerEndsItAndSaysHowLateItCame() {
        var course = InquiryCourse(.waiting, firstNumber: 65535, now: 0)
        #expect(course.ask(now: 5) == 65535)
        #expect(course.ask(now: 10_000_005) == 0)
        course.hear(answerTo: 1, by: Self.mac, now: 10_000_006)
        course.hear(answerTo: 65534, by: Self.mac, now: 10_000_006)
        #expect(course.result == nil)
        course.hear(answerTo: 65535, by: Self.mac, now: 11_000_005)
        #expect(course.result == .answered(after: 11_000_000, by: Self.mac) && course.due == nil)
        #expect(course.ask(now: Self.second) == nil)
    }

    @Test func withoutAnAnswerItEndsAtItsLimit() {
        var course = InquiryCourse(.deciding, firstNumber: 7, now: 0)
        let asked = run(&course, to: Self.second)
        #expect(course.result == .silent(asks: asked.count, in: 500_000_000))
        #expect((15...30).contains(asked.count), "\(asked.count)")
    }

    @Test func aQuestionThatWasNotPutHasNoAnswer() {
        var course = InquiryCourse(.resting, firstNumber: 7, now: 0)
        course.hear(answerTo: 7, by: Self.mac, now: 1)
        #expect(course.result == nil && course.ask(now: Self.second) == nil)
        #expect(course.ask(now: 2 * Self.second) == 7)
    }

    @Test func onlyTheLastQuestionsAreRemembered() {
        var course = InquiryCourse(InquiryPace(shortest: 1, longest: 1), firstNumber: 0, now: 0)
        for now in 0..<Int64(5000) { _ = course.ask(now: now) }
        course.hear(answerTo: UInt16(4999 - 1024), by: Self.mac, now: 5000)
        #expect(course.result == nil)
        course.hear(answerTo: UInt16(4999 - 1023), by: Self.mac, now: 5000)
        #expect(course.result == .answered(after: 1024, by: Self.mac))
    }

    @Test func aGuestThatProbesTheAddressIsNotAskedForAWhile() {
        var course = InquiryCourse(.deciding, firstNumber: 0, now: 0)
        _ = run(&course, to: 100_000_000)
        course.hearProbe(now: 100_000_000)
        let later = run(&course, from: 100_000_001, to: 10 * Self.second)
        #expect(later.first == 100_000_000 + InquiryCourse.pause)
        // The pause is no silence.
        if case .silent(_, let nanoseconds) = course.result {
            #expect(nanoseconds == 500_000_000)
        } else {
            Issue.record("\(String(describing: course.result))")
        }
        #expect((later.last ?? 0) < 100_000_000 + InquiryCourse.pause + 500_000_000)
    }

    /// What was heard before it begins counts as well, and who waits for a primary listens first.
    @Test(arguments: [InquiryPace.deciding, .waiting, .readiness, .resting])
    func aGuestThatProbedTheAddressJustBeforeIsNotAskedYet(pace: InquiryPace) {
        var course = InquiryCourse(pace, firstNumber: 0, probedAt: 9 * Self.second, now: 10 * Self.second)
        let asked = run(&course, from: 10 * Self.second, to: 20 * Self.second)
        #expect(asked.first == max(9 * Self.second + InquiryCourse.pause, 10 * Self.second + pace.listening))
        #expect(course.result != .silent(asks: 0, in: 0))
        var another = InquiryCourse(pace, firstNumber: 0, probedAt: 2 * Self.second, now: 10 * Self.second)
        #expect(run(&another, from: 10 * Self.second, to: 20 * Self.second).first == 10 * Self.second + pace.listening)
    }

    @Test func aGuestCannotPutItOffForEver() {
        var course = InquiryCourse(.waiting, firstNumber: 0, now: 0)
        for second in 0..<Int64(20) { course.hearProbe(now: second * Self.second) }
        if case .cannot = course.result {} else { Issue.record("\(String(describing: course.result))") }
    }
}
