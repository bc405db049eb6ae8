; The Windows installer: for one user, without an administrator. packaging/release/nsis.py runs makensis with
;   VERSION, NUMBERS (four of them), SOURCE (the frozen folder), OUTPUT, ICON, IDENTIFIER, LICENCE, SIZE (in KB)
;
; Silent: setup.exe /S [/D=FOLDER] [/PATH=1] [/ASSOCIATE=0]      uninstall.exe /S [/DATA=1]

Unicode true
Target amd64-unicode
!ifndef COMPRESSION
  !define COMPRESSION lzma
!endif
SetCompressor /SOLID ${COMPRESSION}
ManifestDPIAware true
RequestExecutionLevel user

!include MUI2.nsh
!include FileFunc.nsh
!include LogicLib.nsh
!include Sections.nsh
!include WinMessages.nsh
!include WordFunc.nsh

!define NAME "SLM Desk"
!define PROGID "SLMDesk.gguf"
!define UNINSTALL_KEY "Software\Microsoft\Windows\CurrentVersion\Uninstall\${IDENTIFIER}"
!define OWN_KEY "Software\${IDENTIFIER}"

Name "${NAME}"
OutFile "${OUTPUT}"
InstallDir "$LOCALAPPDATA\Programs\${NAME}"
InstallDirRegKey HKCU "${OWN_KEY}" "InstallLocation"
VIProductVersion "${NUMBERS}"
VIAddVersionKey "ProductName" "${NAME}"
VIAddVersionKey "ProductVersion" "${VERSION}"
VIAddVersionKey "FileVersion" "${VERSION}"
VIAddVersionKey "FileDescription" "${NAME} installer"
VIAddVersionKey "LegalCopyright" "Apache License 2.0"
BrandingText "${NAME} ${VERSION}"

!define MUI_ICON "${ICON}"
!define MUI_UNICON "${ICON}"
!define MUI_ABORTWARNING
!define MUI_COMPONENTSPAGE_SMALLDESC
!define MUI_FINISHPAGE_RUN "$INSTDIR\${NAME}.exe"
!define MUI_FINISHPAGE_RUN_TEXT "Open ${NAME}"

!insertmacro MUI_PAGE_LICENSE "${LICENCE}"
!insertmacro MUI_PAGE_COMPONENTS
!insertmacro MUI_PAGE_DIRECTORY
!insertmacro MUI_PAGE_INSTFILES
!insertmacro MUI_PAGE_FINISH
!insertmacro MUI_UNPAGE_CONFIRM
!insertmacro MUI_UNPAGE_INSTFILES
!insertmacro MUI_LANGUAGE "English"

; Asks a running program to close, and waits for that. Windows keeps the file of a running program from being written.
!macro CloseRunning UN
Function ${UN}Locked
  Push $1
  StrCpy $0 0
  ${If} ${FileExists} "$INSTDIR\slmdesk.exe"
    ClearErrors
    FileOpen $1 "$INSTDIR\slmdesk.exe" a
    ${If} ${Errors}
      StrCpy $0 1
    ${Else}
      FileClose $1
    ${EndIf}
  ${EndIf}
  ${If} ${FileExists} "$INSTDIR\${NAME}.exe"
    ClearErrors
    FileOpen $1 "$INSTDIR\${NAME}.exe" a
    ${If} ${Errors}
      StrCpy $0 1
    ${Else}
      FileClose $1
    ${EndIf}
  ${EndIf}
  Pop $1
FunctionEnd

Function ${UN}CloseRunning
  Call ${UN}Locked
  ${If} $0 = 0
    Return
  ${EndIf}
  MessageBox MB_OKCANCEL|MB_ICONINFORMATION "${NAME} is running. It will be closed now; answers are kept, and jobs go on at the next start." /SD IDOK IDOK ask
  SetErrorLevel 2
  Quit
ask:
  DetailPrint "Closing ${NAME}"
  nsExec::Exec '"$INSTDIR\slmdesk.exe" stop'
  Pop $1
  StrCpy $2 0
  ${Do}
    Call ${UN}Locked
    ${If} $0 = 0
      Return
    ${EndIf}
    IntOp $2 $2 + 1
    Sleep 250
  ${LoopUntil} $2 > 60
  MessageBox MB_RETRYCANCEL|MB_ICONEXCLAMATION "${NAME} is still running. Close its window and the programs that use it, then try again." /SD IDCANCEL IDRETRY ask
  SetErrorLevel 2
  Quit
FunctionEnd
!macroend
!insertmacro CloseRunning ""
!insertmacro CloseRunning "un."

; What an installation consists of. Nothing else in the folder is ever touched.
!macro RemoveProgram
  RMDir /r "$INSTDIR\_internal"
  Delete "$INSTDIR\slmdesk.exe"
  Delete "$INSTDIR\${NAME}.exe"
!macroend

!macro ShellChanged
  System::Call 'shell32::SHChangeNotify(i 0x08000000, i 0, p 0, p 0)'
!macroend

; $0: the length of this user's PATH in bytes; $1: 0 when it can be changed here without cutting it.
!macro MeasurePath
  System::Call 'advapi32::RegGetValueW(p 0x80000001, w "Environment", w "Path", i 0x1000FFFF, p 0, p 0, *i .r0) i .r1'
  ${If} $1 = 2 ; there is none yet
    StrCpy $0 0
    StrCpy $1 0
  ${EndIf}
  IntOp $2 ${NSIS_MAX_STRLEN} - 300
  IntOp $2 $2 * 2
  ${If} $0 > $2
    StrCpy $1 1
  ${EndIf}
!macroend

!macro PathChanged
  SendMessage ${HWND_BROADCAST} ${WM_SETTINGCHANGE} 0 "STR:Environment" /TIMEOUT=2000
!macroend

Section "${NAME}" SectionProgram
  SectionIn RO
  Call CloseRunning
  ${If} ${FileExists} "$INSTDIR\uninstall.exe"
    !insertmacro RemoveProgram
  ${EndIf}
  SetOutPath "$INSTDIR"
  File /r "${SOURCE}\*"
  WriteUninstaller "$INSTDIR\uninstall.exe"
  CreateShortCut "$SMPROGRAMS\${NAME}.lnk" "$INSTDIR\${NAME}.exe" "" "$INSTDIR\${NAME}.exe" 0 SW_SHOWNORMAL "" "Small language models on your own machine"
  WriteRegStr HKCU "${OWN_KEY}" "InstallLocation" "$INSTDIR"
  WriteRegStr HKCU "${OWN_KEY}" "Version" "${VERSION}"
  WriteRegStr HKCU "${UNINSTALL_KEY}" "DisplayName" "${NAME}"
  WriteRegStr HKCU "${UNINSTALL_KEY}" "DisplayVersion" "${VERSION}"
  WriteRegStr HKCU "${UNINSTALL_KEY}" "Publisher" "The ${NAME} developers"
  WriteRegStr HKCU "${UNINSTALL_KEY}" "DisplayIcon" "$INSTDIR\${NAME}.exe,0"
  WriteRegStr HKCU "${UNINSTALL_KEY}" "InstallLocation" "$INSTDIR"
  WriteRegStr HKCU "${UNINSTALL_KEY}" "UninstallString" '"$INSTDIR\uninstall.exe"'
  WriteRegStr HKCU "${UNINSTALL_KEY}" "QuietUninstallString" '"$INSTDIR\uninstall.exe" /S'
  WriteRegDWORD HKCU "${UNINSTALL_KEY}" "EstimatedSize" ${SIZE}
  WriteRegDWORD HKCU "${UNINSTALL_KEY}" "NoModify" 1
  WriteRegDWORD HKCU "${UNINSTALL_KEY}" "NoRepair" 1
SectionEnd

Section "Open GGUF files with ${NAME}" SectionAssociate
  WriteRegStr HKCU "Software\Classes\${PROGID}" "" "GGUF model"
  WriteRegStr HKCU "Software\Classes\${PROGID}\DefaultIcon" "" "$INSTDIR\${NAME}.exe,0"
  WriteRegStr HKCU "Software\Classes\${PROGID}\shell\open\command" "" '"$INSTDIR\${NAME}.exe" "%1"'
  WriteRegStr HKCU "Software\Classes\.gguf\OpenWithProgids" "${PROGID}" ""
  ReadRegStr $0 HKCU "Software\Classes\.gguf" ""
  ${If} $0 == ""
    WriteRegStr HKCU "Software\Classes\.gguf" "" "${PROGID}"
  ${EndIf}
  !insertmacro ShellChanged
SectionEnd

Section /o "Command “slmdesk” in terminals" SectionPath
  !insertmacro MeasurePath
  ${If} $1 = 0
    ReadRegStr $0 HKCU "Environment" "Path"
    ${WordAdd} "$0" ";" "+$INSTDIR" $0
    WriteRegExpandStr HKCU "Environment" "Path" "$0"
    WriteRegStr HKCU "${OWN_KEY}" "OnPath" "1"
    !insertmacro PathChanged
  ${Else}
    DetailPrint "PATH is too long to be changed here; add $INSTDIR to it by hand."
    MessageBox MB_OK|MB_ICONINFORMATION "Your PATH is too long to be changed here. To use “slmdesk” in terminals, add this folder to it by hand:$\n$INSTDIR" /SD IDOK
  ${EndIf}
SectionEnd

LangString AboutProgram ${LANG_ENGLISH} "The program with its window and its commands."
LangString AboutAssociate ${LANG_ENGLISH} "A double click on a .gguf file opens it in ${NAME}, unless another program has that already."
LangString AboutPath ${LANG_ENGLISH} "Adds the program's folder to your PATH."
!insertmacro MUI_FUNCTION_DESCRIPTION_BEGIN
  !insertmacro MUI_DESCRIPTION_TEXT ${SectionProgram} $(AboutProgram)
  !insertmacro MUI_DESCRIPTION_TEXT ${SectionAssociate} $(AboutAssociate)
  !insertmacro MUI_DESCRIPTION_TEXT ${SectionPath} $(AboutPath)
!insertmacro MUI_FUNCTION_DESCRIPTION_END

Function .onInit
  ${GetParameters} $R0
  ClearErrors
  ${GetOptions} "$R0" "/PATH=" $R1
  ${IfNot} ${Errors}
  ${AndIf} $R1 == "1"
    !insertmacro SelectSection ${SectionPath}
  ${EndIf}
  ClearErrors
  ${GetOptions} "$R0" "/ASSOCIATE=" $R1
  ${IfNot} ${Errors}
  ${AndIf} $R1 == "0"
    !insertmacro UnselectSection ${SectionAssociate}
  ${EndIf}
  ; An update keeps what was chosen before.
  ReadRegStr $R1 HKCU "${OWN_KEY}" "OnPath"
  ${If} $R1 == "1"
    !insertmacro SelectSection ${SectionPath}
  ${EndIf}
FunctionEnd

Section "Uninstall"
  Call un.CloseRunning
  !insertmacro RemoveProgram
  Delete "$INSTDIR\uninstall.exe"
  RMDir "$INSTDIR" ; only when it is empty
  Delete "$SMPROGRAMS\${NAME}.lnk"

  ReadRegStr $0 HKCU "${OWN_KEY}" "OnPath"
  ${If} $0 == "1"
    !insertmacro MeasurePath
    ${If} $1 = 0
      ReadRegStr $0 HKCU "Environment" "Path"
      ${un.WordAdd} "$0" ";" "-$INSTDIR" $0
      WriteRegExpandStr HKCU "Environment" "Path" "$0"
      !insertmacro PathChanged
    ${EndIf}
  ${EndIf}

  ReadRegStr $0 HKCU "Software\Classes\.gguf" ""
  ${If} $0 == "${PROGID}"
    DeleteRegValue HKCU "Software\Classes\.gguf" ""
  ${EndIf}
  DeleteRegValue HKCU "Software\Classes\.gguf\OpenWithProgids" "${PROGID}"
  DeleteRegKey /ifnosubkeys /ifnovalues HKCU "Software\Classes\.gguf\OpenWithProgids"
  DeleteRegKey /ifnosubkeys /ifnovalues HKCU "Software\Classes\.gguf"
  DeleteRegKey HKCU "Software\Classes\${PROGID}"
  !insertmacro ShellChanged
  DeleteRegKey HKCU "${UNINSTALL_KEY}"
  DeleteRegKey HKCU "${OWN_KEY}"

  ; Models, conversations and settings stay, unless somebody wants them gone.
  ${GetParameters} $R0
  ClearErrors
  ${GetOptions} "$R0" "/DATA=" $R1
  ${IfNot} ${Errors}
  ${AndIf} $R1 == "1"
    Goto remove_data
  ${EndIf}
  ${IfNot} ${FileExists} "$LOCALAPPDATA\slmdesk\*.*"
    Goto done
  ${EndIf}
  MessageBox MB_YESNO|MB_DEFBUTTON2|MB_ICONQUESTION "Also delete the downloaded models, the conversations and the settings? They are in$\n$LOCALAPPDATA\slmdesk" /SD IDNO IDYES remove_data
  Goto done
remove_data:
  RMDir /r "$LOCALAPPDATA\slmdesk"
done:
SectionEnd
