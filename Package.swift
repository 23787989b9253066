// swift-tools-version: 6.2
import PackageDescription

/// Settings of every Swift target of the package.
let swift: [SwiftSetting] = [
    // https://github.com/swiftlang/swift-evolution/blob/main/proposals/0335-existential-any.md
    .enableUpcomingFeature("ExistentialAny"),
    // https://github.com/swiftlang/swift-evolution/blob/main/proposals/0444-member-import-visibility.md
    .enableUpcomingFeature("MemberImportVisibility"),
    // https://github.com/swiftlang/swift-evolution/blob/main/proposals/0409-access-level-on-imports.md
    .enableUpcomingFeature("InternalImportsByDefault"),
    .treatAllWarnings(as: .error),
]
let c: [CSetting] = [.treatAllWarnings(as: .error)]

let package = Package(
    name: "fdbsteer",
    products: [
        .executable(name: "fdbsteer", targets: ["fdbsteer"])
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2")
    ],
    targets: [
        .systemLibrary(name: "CLibmnl", pkgConfig: "libmnl", providers: [.apt(["libmnl-dev"])]),
        .systemLibrary(name: "CSQLite", pkgConfig: "sqlite3", providers: [.apt(["libsqlite3-dev"])]),
        .target(name: "CNetlink", dependencies: ["CLibmnl"], cSettings: c),
        .target(name: "Netlink", dependencies: ["CNetlink"], swiftSettings: swift),
        .target(name: "FDB", dependencies: ["Netlink", "CNetlink"], swiftSettings: swift),
        .target(name: "Switchdev", dependencies: ["Netlink", "CNetlink", "FDB"], swiftSettings: swift),
        .target(
            name: "Controller",
            dependencies: ["FDB", "Switchdev", "Netlink", "CNetlink", "CSQLite"],
            swiftSettings: swift
        ),
        .executableTarget(
            name: "fdbsteer",
            dependencies: [
                "Controller", "FDB", "Switchdev", "Netlink",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: swift
        ),
        .target(name: "CLab", path: "bench/CLab", cSettings: c),
        .target(name: "Lab", dependencies: ["CLab"], path: "bench/Lab", swiftSettings: swift),
        .target(name: "LossMeter", dependencies: ["CLab"], path: "bench/LossMeter", swiftSettings: swift),
        .executableTarget(
            name: "fdbsteer-bench",
            dependencies: [
                "LossMeter", "Lab", "CLab", "Controller", "FDB", "Netlink", "Switchdev",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            path: "bench/fdbsteer-bench",
            swiftSettings: swift
        ),
        // libnl-route: the tests' second decoder.
        .systemLibrary(
            name: "CLibnlRoute", pkgConfig: "libnl-route-3.0", providers: [.apt(["libnl-3-dev", "libnl-route-3-dev"])]),
        .target(name: "CNetlinkRoute", dependencies: ["CLibnlRoute"], cSettings: c),
        .testTarget(name: "NetlinkTests", dependencies: ["Netlink", "FDB", "Lab", "CNetlink"], swiftSettings: swift),
        .testTarget(name: "FDBTests", dependencies: ["FDB", "Netlink", "Lab"], swiftSettings: swift),
        .testTarget(
            name: "SwitchdevTests", dependencies: ["Switchdev", "FDB", "Netlink", "Lab", "CNetlink", "CNetlinkRoute"],
            swiftSettings: swift),
        .testTarget(
            name: "ControllerTests", dependencies: ["Controller", "FDB", "Netlink", "Switchdev", "CNetlink", "Lab"],
            swiftSettings: swift),
        .testTarget(name: "LossMeterTests", dependencies: ["LossMeter"], swiftSettings: swift),
        // In the lab VM: scripts/test boots it.
        .testTarget(name: "VMTests", dependencies: ["Lab", "Switchdev", "Netlink"], swiftSettings: swift),
        .testTarget(
            name: "LabTests", dependencies: ["Lab", "LossMeter", "CLab", "fdbsteer", "fdbsteer-bench"],
            swiftSettings: swift),
    ]
)
