"""Which frames are an app's own code, and which a system's, a runtime's or a well-known library's."""

from __future__ import annotations

import re
from functools import lru_cache

from pipeline.formats.stacks.frames import StackFrame
from pipeline.formats.stacks.names import KEPT

_SYSTEM_PACKAGES = (
    *("java.", "javax.", "jdk.", "sun.", "kotlin.", "kotlinx.", "scala.", "groovy."),
    *("android.", "androidx.", "com.android.", "dalvik.", "libcore.", "com.google.android."),
    *(
        "com.google.firebase.",
        "com.google.common.",
        "com.google.gson.",
        "dagger.",
        "org.json.",
        "org.apache.",
    ),
    *(
        "okhttp3.",
        "okio.",
        "retrofit2.",
        "io.reactivex.",
        "rx.",
        "coil.",
        "com.bumptech.glide.",
        "com.squareup.",
    ),
    *("io.flutter.", "com.facebook.", "com.swmansion.", "com.unity3d.", "io.ktor.", "org.koin."),
    # What watches the app.
    *("sh.measure.android.", "io.embrace.android.", "io.sentry.", "io.opentelemetry.", "com.posthog."),
)
_DART_PACKAGES = (
    *("dart:", "package:flutter/", "package:flutter_test/", "package:stack_trace/", "package:async/"),
    *("package:http/", "package:dio/", "package:bloc/", "package:flutter_bloc/", "package:provider/"),
    *(
        "package:riverpod/",
        "package:flutter_riverpod/",
        "package:get/",
        "package:sentry",
        "package:measure_flutter/",
    ),
    "package:embrace/",
)
_SCRIPTS = re.compile(
    r"node_modules/|^node:|^internal/|^native$|^\[native code\]|^<anonymous>|^(?:chrome|moz|safari-web)-extension:"
    r"|webpack/(?:bootstrap|runtime)|(?:^|/)(?:vendors?|polyfills?|zone|runtime)[^/]*\.js|(?:^|/)react(?:-dom)?[.\-]"
)
_PYTHON = re.compile(r"/site-packages/|/dist-packages/|/lib/python\d|^<frozen ")
_LIBRARIES = re.compile(
    r"^/(?:system|apex|vendor|usr/lib|System|product)/|^lib(?:system|dispatch|objc|c\+\+|swift|dyld|xpc|network|boringssl)"
    r"|(?:^|/)(?:libc|libart|libdl|libm|liblog|libutils|libbinder|libhwui|libgui|libandroid_runtime|libflutter|"
    r"libc\+\+_shared|libhermes|libreactnative[a-z]*|libunity|libil2cpp|linker64|linker|app_process(?:32|64)?)(?:\.so)?$"
    r"|^dyld(?:_sim)?$|^\[(?:vdso|anon)"
)
_FRAMEWORKS = frozenset(
    {
        *("AVFAudio", "AVFoundation", "Accelerate", "AppKit", "AttributeGraph", "CFNetwork", "CoreAudio"),
        *("CoreAutoLayout", "CoreBluetooth", "CoreData", "CoreFoundation", "CoreGraphics", "CoreImage"),
        *("CoreLocation", "CoreMedia", "CoreMotion", "CoreText", "CoreUI", "FileProvider", "Foundation"),
        *("FrontBoardServices", "GraphicsServices", "HIToolbox", "ImageIO", "IOKit", "JavaScriptCore"),
        *("MapKit", "MediaPlayer", "Metal", "MetalKit", "MetricKit", "Network", "OpenGLES", "PhotosUI"),
        *("QuartzCore", "RunningBoardServices", "Security", "StoreKit", "Swift", "SwiftUI", "SwiftUICore"),
        *("SwiftData", "UIFoundation", "UIKit", "UIKitCore", "UpdateCycle", "UserNotifications", "WebCore"),
        *("WebKit", "Flutter", "hermes", "React", "MeasureSDK", "Measure", "Sentry", "KSCrash"),
        *("EmbraceCore", "EmbraceIO", "FirebaseCrashlytics"),
    }
)


@lru_cache(KEPT)
def is_own(frame: StackFrame, app_id: str) -> bool:
    """Whether a frame is code of the app: as its SDK says, else by where it is. `app_id` is the app's package."""
    if frame.is_own is not None:
        return frame.is_own
    if app_id and frame.function.startswith(f"{app_id}."):
        return True
    if frame.image:
        return frame.image not in _FRAMEWORKS and not _LIBRARIES.search(frame.image)
    file = frame.file
    if not file and not frame.function:
        return False
    if file.startswith(("dart:", "package:")):
        return not file.startswith(_DART_PACKAGES)
    if _SCRIPTS.search(file) or _PYTHON.search(file):
        return False
    return not frame.function.rpartition("/")[2].startswith(_SYSTEM_PACKAGES)
